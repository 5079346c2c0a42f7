#include <xtape/tools/graph.hpp>
#include <xtape/tools/step_command.hpp>

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

/// A scope with its nodes: a cluster of the drawing.
struct Cluster {
    std::string name;
    std::vector<std::string> nodes = {};
    std::vector<Cluster> inner = {};

    Cluster& at(const std::string& child) {
        const auto known = std::ranges::find(inner, child, &Cluster::name);
        return known != inner.end() ? *known : inner.emplace_back(Cluster{child});
    }
};

/// `layers.3.attention` as layers.3 and attention: a number belongs to the name before it.
std::vector<std::string> parts_of(const std::string& scope) {
    std::vector<std::string> parts;
    for (std::size_t from = 0; from < scope.size();) {
        const std::size_t to = std::min(scope.find('.', from), scope.size());
        const std::string part = scope.substr(from, to - from);
        const bool number = part.find_first_not_of("0123456789") == std::string::npos;
        if (number && !parts.empty())
            parts.back() += "." + part;
        else
            parts.push_back(part);
        from = to + 1;
    }
    return parts;
}

Cluster& cluster_of(Cluster& root, const std::string& scope) {
    Cluster* cluster = &root;
    for (const std::string& part : parts_of(scope)) cluster = &cluster->at(part);
    return *cluster;
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + '"';
}

std::string size_of(std::size_t bytes) {
    if (bytes < 1024) return fmt::format("{} B", bytes);
    const double kibibytes = static_cast<double>(bytes) / 1024;
    return kibibytes < 1024 ? fmt::format("{:.1f} KiB", kibibytes) : fmt::format("{:.1f} MiB", kibibytes / 1024);
}

void write(std::string& dot, const Cluster& cluster, int& number, int depth) {
    const std::string indent(static_cast<std::size_t>(2 * depth), ' ');
    for (const std::string& node : cluster.nodes) dot += indent + node;
    for (const Cluster& inner : cluster.inner) {
        dot += fmt::format("{}subgraph cluster_{} {{\n{}  label={};\n", indent, number++, indent, quoted(inner.name));
        write(dot, inner, number, depth + 1);
        dot += indent + "}\n";
    }
}

/// The one scope in which a leaf is read; the root where there are several.
std::string scope_of(const GraphLeaf& leaf, std::span<const RecordInfo> records) {
    const std::string* scope = nullptr;
    for (const RecordInfo& record : records) {
        if (std::ranges::find(record.inputs, leaf.value) == record.inputs.end()) continue;
        if (scope != nullptr && *scope != record.scope) return {};
        scope = &record.scope;
    }
    return scope == nullptr ? std::string() : *scope;
}

}  // namespace

std::size_t Graph::kept_bytes() const {
    std::size_t bytes = 0;
    for (const RecordInfo& record : records) bytes += record.kept_bytes;
    return bytes;
}

Graph graph_of_step(Learner& learner, Index draw) {
    Tape<float> tape({.recompute = true});
    const Tensor<float> loss = learner.loss(draw);
    Graph graph{.records = tape.records(), .leaves = {}};
    std::map<const void*, std::string> names;
    for (const auto& [name, parameter] : learner.parameters()) names[parameter->state()] = name;
    std::vector<std::uint32_t> seen;
    for (const RecordInfo& record : graph.records) {
        for (const std::uint32_t input : record.inputs) {
            if (input == detail::no_value || std::ranges::find(seen, input) != seen.end()) continue;
            seen.push_back(input);
            if (std::ranges::find(graph.records, input, &RecordInfo::output) != graph.records.end()) continue;
            const detail::Value<float>& value = tape.at(input);
            const auto known = names.find(value.parameter);
            graph.leaves.push_back({input, known == names.end() ? "input" : known->second, value.shape});
        }
    }
    return graph;
}

std::string to_dot(const Graph& graph, const std::string& title) {
    std::map<std::uint32_t, std::pair<std::string, Shape>> sources;  // of values: node and shape
    Cluster root;
    for (const GraphLeaf& leaf : graph.leaves) {
        const std::string node = fmt::format("v{}", leaf.value);
        sources[leaf.value] = {node, leaf.shape};
        cluster_of(root, scope_of(leaf, graph.records))
            .nodes.push_back(fmt::format("{} [label={}, shape=ellipse, style=filled, fillcolor=lightyellow];\n", node,
                                         quoted(leaf.name)));
    }
    std::string edges;
    for (std::size_t i = 0; i < graph.records.size(); ++i) {
        const RecordInfo& record = graph.records[i];
        const std::string node = fmt::format("r{}", i);
        const std::string keeps = record.kept_bytes > 0 ? "\\nkeeps " + size_of(record.kept_bytes) : "";
        cluster_of(root, record.scope).nodes.push_back(fmt::format("{} [label=\"{}{}\"];\n", node, record.op, keeps));
        for (const std::uint32_t input : record.inputs) {
            const auto source = sources.find(input);
            if (source == sources.end()) continue;
            const auto& [from, shape] = source->second;
            edges += fmt::format("  {} -> {} [label={}];\n", from, node, quoted(to_string(shape)));
        }
        sources[record.output] = {node, record.shape};
    }
    std::string dot = fmt::format("digraph {} {{\n  label={};\n  node [shape=box, style=rounded];\n", quoted(title),
                                  quoted(fmt::format("{}: {} records, which keep {} for the backward", title,
                                                     graph.records.size(), size_of(graph.kept_bytes()))));
    int number = 0;
    write(dot, root, number, 1);
    return dot + edges + "}\n";
}

Json to_json(const Graph& graph) {
    const auto extents = [](const Shape& shape) { return std::vector<Index>(shape.begin(), shape.end()); };
    Json json{{"kept_bytes", graph.kept_bytes()}, {"records", Json::array()}, {"leaves", Json::array()}};
    for (const RecordInfo& record : graph.records) {
        Json inputs = Json::array();
        for (const std::uint32_t input : record.inputs) {
            if (input != detail::no_value) inputs.push_back(input);
        }
        json["records"].push_back({{"op", record.op},
                                   {"scope", record.scope},
                                   {"inputs", inputs},
                                   {"output", record.output},
                                   {"shape", extents(record.shape)},
                                   {"kept_bytes", record.kept_bytes}});
    }
    for (const GraphLeaf& leaf : graph.leaves)
        json["leaves"].push_back({{"value", leaf.value}, {"name", leaf.name}, {"shape", extents(leaf.shape)}});
    return json;
}

void add_graph(CLI::App& app, std::function<Exit()>& action) {
    const auto as_json = std::make_shared<bool>(false);
    add_step_command(
        app, action, "graph", "Draw the tape of a training step, for Graphviz",
        [=](CLI::App& sub) { sub.add_flag("--json", *as_json, "Print one JSON object"); },
        [=](const std::string& model, const PreparedCourse& course) {
            const Graph graph = graph_of_step(course.learner, 0);
            Json json = to_json(graph);
            json["model"] = model;
            fmt::print("{}", *as_json ? one_line(json) + "\n" : to_dot(graph, model));
        });
}

}  // namespace xtape::tools
