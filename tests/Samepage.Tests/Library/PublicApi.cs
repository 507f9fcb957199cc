using System.Reflection;
using System.Runtime.CompilerServices;

namespace Samepage.Tests;

/// <summary>Everything public of an assembly as sorted lines, one per type and member.</summary>
internal static class PublicApi
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    public static string Of(IEnumerable<Type> types)
    {
        var lines = new List<string>();
        foreach (Type type in types.OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            lines.Add(Header(type));
            lines.AddRange(Members(type).Order(StringComparer.Ordinal).Select(line => "    " + line));
        }

        return string.Join('\n', lines) + "\n";
    }

    private static string Header(Type type)
    {
        string kind = type.IsEnum ? "enum" : type.IsInterface ? "interface" : type.IsValueType ? "struct"
            : type.IsAbstract && type.IsSealed ? "static class" : type.IsSealed ? "sealed class" : "class";
        IEnumerable<string> bases = type.GetInterfaces()
            .Where(parent => parent != typeof(IEquatable<>).MakeGenericType(type)).Select(Name)
            .Order(StringComparer.Ordinal);
        bases = type.IsEnum ? [] : type.BaseType is { } parent && parent != typeof(object) && parent != typeof(ValueType)
            ? bases.Prepend(Name(parent)) : bases;
        return $"{kind} {type.FullName}{(bases.Any() ? " : " + string.Join(", ", bases) : "")}";
    }

    private static IEnumerable<string> Members(Type type)
    {
        foreach (MemberInfo member in type.GetMembers(Declared))
        {
            string? line = member switch
            {
                FieldInfo { IsPublic: true, IsSpecialName: false } field when type.IsEnum =>
                    $"{field.Name} = {Convert.ToInt64(field.GetRawConstantValue(), null)}",
                FieldInfo { IsPublic: true, IsSpecialName: false } field =>
                    $"{(field.IsLiteral ? "const " : "")}{Name(field.FieldType)} {field.Name}"
                        + (field.IsLiteral ? $" = {field.GetRawConstantValue()}" : ""),
                ConstructorInfo made when IsVisible(made) && !IsGenerated(made) => $"new({Parameters(made)})",
                PropertyInfo property when property.GetMethod is { } get && IsVisible(get) && property.Name != "EqualityContract" =>
                    $"{Static(get)}{Name(property.PropertyType)} {property.Name} {{ get; {Setter(property)}}}",
                MethodInfo { IsSpecialName: false } method when IsVisible(method) && !IsGenerated(method)
                    && !method.Name.Contains('<', StringComparison.Ordinal) =>
                    $"{Static(method)}{Name(method.ReturnType)} {method.Name}({Parameters(method)})",
                EventInfo happened => $"event {Name(happened.EventHandlerType!)} {happened.Name}",
                _ => null,
            };
            if (line is not null)
            {
                yield return line;
            }
        }
    }

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static bool IsGenerated(MethodBase method) => method.IsDefined(typeof(CompilerGeneratedAttribute), false);

    private static string Static(MethodInfo method) => method.IsStatic ? "static " : "";

    private static string Setter(PropertyInfo property)
    {
        if (property.SetMethod is not { } set || !IsVisible(set))
        {
            return "";
        }

        bool required = property.IsDefined(typeof(RequiredMemberAttribute), false);
        bool once = set.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit));
        return (required ? "required " : "") + (once ? "init; " : "set; ");
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(parameter =>
        $"{Name(parameter.ParameterType)} {parameter.Name}"
        + (parameter.HasDefaultValue ? $" = {parameter.DefaultValue ?? "default"}" : "")));

    private static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return "ref " + Name(type.GetElementType()!);
        }

        if (Nullable.GetUnderlyingType(type) is { } inner)
        {
            return Name(inner) + "?";
        }

        if (!type.IsGenericType)
        {
            return type.IsArray ? Name(type.GetElementType()!) + "[]" : type.Name;
        }

        return $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<"
            + $"{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
    }
}
