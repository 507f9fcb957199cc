using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.AdminFiles;

namespace Samepage.Daemon.Api;

/// <summary>/v1/mounts: KSM's admin files, mounted.</summary>
internal static class MountsApi
{
    internal static void MapMounts(this IEndpointRouteBuilder routes)
    {
        var mounts = routes.MapGroup("/v1/mounts").WithTags("mounts");
        mounts.MapGet("/", List).WithName("list_mounts").WithSummary("All mounts of KSM's admin files");
        mounts.MapPost("/", Mount).WithName("mount")
            .WithSummary("Mount a view of KSM's admin files, or serve one that the caller has mounted");
        mounts.MapDelete("/", Unmount).WithName("unmount").WithSummary("Unmount one");
    }

    private static Ok<MountsDocument> List(AdminMounts mounts) => TypedResults.Ok(mounts.List());

    private static async Task<Created<MountDocument>> Mount(MountBody body, AdminMounts mounts)
    {
        var mounted = body switch
        {
            { Path: { } path, Pid: null, Fd: null } => await mounts.Mount(path, body.View).ConfigureAwait(false),
            { Path: null, Pid: { } pid, Fd: { } descriptor } =>
                await mounts.Adopt(pid, descriptor, body.View).ConfigureAwait(false),
            _ => throw new RequestException(ExitCode.Usage, "give either path, or pid and fd"),
        };
        return TypedResults.Created((string?)null, mounted);
    }

    private static Ok<MountDocument> Unmount(string path, AdminMounts mounts, bool lazy = false) =>
        TypedResults.Ok(mounts.Unmount(path, lazy));
}
