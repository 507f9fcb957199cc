using FsCheck;
using FsCheck.Fluent;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// The index against a dictionary, under random operations. Keys are chosen so that many share tag and place, which
/// random ones hardly ever do.
/// </summary>
public sealed class DigestIndexModelTests
{
    private const int Ids = 600;

    private static readonly ulong[] Keys = [.. CollidingKeys().Take(60)];

    private enum Verb
    {
        Add,
        AddAgain,
        ChangeKey,
        Forget,
        Remove,
        RemoveOld,
        Find,
        Clear,
    }

    [Fact]
    public void TheIndexFindsWhatADictionaryFinds()
    {
        var verb = Gen.Frequency(
            (30, Gen.Constant(Verb.Add)),
            (5, Gen.Constant(Verb.AddAgain)),
            (8, Gen.Constant(Verb.ChangeKey)),
            (4, Gen.Constant(Verb.Forget)),
            (8, Gen.Constant(Verb.Remove)),
            (4, Gen.Constant(Verb.RemoveOld)),
            (20, Gen.Constant(Verb.Find)));
        var rarelyClear = Gen.Frequency((999, verb), (1, Gen.Constant(Verb.Clear)));
        var operation =
            from what in rarelyClear
            from id in Gen.Choose(0, Ids - 1)
            from key in Gen.Choose(0, Keys.Length - 1)
            select new Operation(what, (uint)id, Keys[key]);
        var operations = operation.ListOf().ToArbitrary();
        Prop.ForAll(operations, list => Run(list)).Check(
            Config.QuickThrowOnFailure.WithMaxTest(100).WithStartSize(10).WithEndSize(4000));
    }

    private static void Run(IEnumerable<Operation> operations)
    {
        var subject = new Subject();
        foreach (var operation in operations)
        {
            subject.Do(operation);
        }

        foreach (var key in Keys)
        {
            subject.CheckFind(key);
        }

        subject.CheckCount();
    }

    private static IEnumerable<ulong> CollidingKeys()
    {
        for (ulong key = 1; ; key++)
        {
            var hash = new IndexHash(key);
            if (hash.Tag is 40 or 41 && hash.Group(16) is 3 or 15)
            {
                yield return key;
            }
        }
    }

    private readonly record struct Operation(Verb Verb, uint Id, ulong Key);

    private sealed class Subject
    {
        private readonly KeyTable _keys = new(Ids);
        private readonly DigestIndex _index;
        private readonly uint[] _found = new uint[Ids];

        // What has to be found: ids that were added with the key they have. Whether an id was added with any key.
        private readonly Dictionary<ulong, HashSet<uint>> _added = [];
        private readonly HashSet<uint> _ever = [];

        public Subject() => _index = new DigestIndex(_keys, 1);

        public void Do(Operation operation)
        {
            var (verb, id, key) = operation;
            switch (verb)
            {
                case Verb.Add:
                    SetKey(id, key);
                    Add(id);
                    break;
                case Verb.AddAgain when _keys.Keys[id] != 0:
                    Add(id);
                    break;
                case Verb.ChangeKey:
                    SetKey(id, key);
                    break;
                case Verb.Forget:
                    SetKey(id, 0);
                    break;
                case Verb.Remove:
                    Remove(id);
                    break;
                case Verb.RemoveOld when _keys.Keys[id] != key:
                    _index.Remove(key, id);
                    CheckFind(_keys.Keys[id]);
                    break;
                case Verb.Find:
                    CheckFind(key);
                    break;
                case Verb.Clear:
                    _index.Clear();
                    _added.Clear();
                    _ever.Clear();
                    Assert.Equal(0, _index.Count);
                    break;
            }
        }

        public void CheckFind(ulong key)
        {
            var count = _index.Find(key, _found);
            var found = _found[..count];
            Assert.Equal(count, found.Distinct().Count());
            Assert.DoesNotContain(found, id => _keys.Keys[id] != key || !_ever.Contains(id));
            Assert.Superset(_added.GetValueOrDefault(key, []), found.ToHashSet());
            Assert.Equal(count / 2, _index.Find(key, _found.AsSpan(0, count / 2)));
        }

        public void CheckCount() => Assert.True(_index.Count >= _added.Values.Sum(ids => ids.Count));

        private void SetKey(uint id, ulong key)
        {
            if (_keys.Keys[id] != key && _added.TryGetValue(_keys.Keys[id], out var ids))
            {
                ids.Remove(id);
            }

            _keys.Keys[id] = key;
        }

        private void Add(uint id)
        {
            Assert.True(_index.Add(_keys.Keys[id], id));
            _ever.Add(id);
            if (!_added.TryGetValue(_keys.Keys[id], out var ids))
            {
                _added[_keys.Keys[id]] = ids = [];
            }

            ids.Add(id);
        }

        private void Remove(uint id)
        {
            var key = _keys.Keys[id];
            var wasThere = _added.TryGetValue(key, out var ids) && ids.Remove(id);
            Assert.True(_index.Remove(key, id) || !wasThere);
            var count = _index.Find(key, _found);
            Assert.DoesNotContain(id, _found[..count]);
        }
    }
}
