using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// Assertions that stay on in release builds: memory of other processes is at stake, so a wrong assumption must stop
/// the engine rather than be worked around. Cheap enough to be everywhere but inside per-page loops.
/// </summary>
public static class Invariant
{
    /// <summary>Throws unless <paramref name="condition"/> holds.</summary>
    /// <exception cref="InvariantException">It does not; the message carries the expression and where it
    /// stands.</exception>
    public static void Check(
        [DoesNotReturnIf(false)] bool condition,
        [CallerArgumentExpression(nameof(condition))] string expression = "",
        [CallerFilePath] string file = "",
        [CallerLineNumber] int line = 0)
    {
        if (!condition)
        {
            throw new InvariantException($"{expression} does not hold ({Path.GetFileName(file)}:{line})");
        }
    }
}

/// <summary>A wrong assumption in Samepage itself. Nobody catches it but the top of the program.</summary>
public sealed class InvariantException(string message) : Exception(message);
