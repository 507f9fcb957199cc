using Samepage.Daemon.Loop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>What is done with a write: runs on the engine's loop.</summary>
/// <returns>0 or an error number.</returns>
internal delegate int AdminStore(Supervisor supervisor, string text, CancellationToken interrupted);

/// <summary>One file of a view.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Show">Its content, without the newline at the end.</param>
/// <param name="Store">What a write does; null for a file of mode 0444.</param>
internal sealed record AdminFile(string Name, Func<AdminSnapshot, string> Show, AdminStore? Store = null);
