using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.OpenApi;

namespace Samepage.Daemon.Api;

/// <summary>
/// /openapi/v1.json: the committed docs/openapi.json, built into the assembly. Generating it costs the daemon 4 MB that
/// it would keep, so the generator only runs where the document is checked (a test) or made (daemon --describe-api).
/// </summary>
internal static class ApiDescription
{
    private const string DocumentName = "v1";

    internal static void MapDescription(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/openapi/v1.json", () => Results.Stream(Open(), "application/json")).ExcludeFromDescription();

    /// <summary>The committed document.</summary>
    internal static Stream Open() =>
        typeof(ApiDescription).Assembly.GetManifestResourceStream("openapi.json")
        ?? throw new InvalidOperationException("openapi.json is not built in");

    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static void Add(IServiceCollection services)
    {
        services.AddEndpointsApiExplorer();
        services.AddOpenApi(DocumentName, options => options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info.Title = "Samepage";
            document.Info.Description = "HTTP API of the Samepage daemon, on its unix socket.";
            document.Info.Version = DocumentName;
            document.Servers?.Clear();
            return Task.CompletedTask;
        }));
    }

    /// <summary>The document as the routes are now.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static async Task<string> Generate(WebApplication app)
    {
        var provider = app.Services.GetRequiredKeyedService<IOpenApiDocumentProvider>(DocumentName);
        var document = await provider.GetOpenApiDocumentAsync().ConfigureAwait(false);
        using var text = new StringWriter { NewLine = "\n" };
        document.SerializeAsV31(new OpenApiJsonWriter(text));
        return text.ToString() + "\n";
    }
}
