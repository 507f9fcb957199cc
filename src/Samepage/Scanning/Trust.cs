namespace Samepage;

/// <summary>
/// Whether a kind of guess is worth making, by what came of those made before. Begins with a few; what has come true allows
/// more, and ends when more than one in sixteen was wrong.
/// </summary>
/// <param name="openMin">Guesses that may be open before any has come true.</param>
internal sealed class Trust(long openMin)
{
    private const long WrongMin = 16;
    private const long WrongShare = 16;

    private long _open;
    private long _right;
    private long _wrong;

    /// <summary>True when another guess may be made.</summary>
    public bool Allows => _wrong <= WrongMin + (_right / WrongShare) && _open < openMin + _right;

    /// <summary>Nothing is known.</summary>
    public void Reset()
    {
        _open = 0;
        _right = 0;
        _wrong = 0;
    }

    /// <summary>A guess is made.</summary>
    public void Guess() => _open++;

    /// <summary>A guess turned out right, or wrong.</summary>
    public void TurnedOut(bool right)
    {
        _open--;
        _right += right ? 1 : 0;
        _wrong += right ? 0 : 1;
    }
}
