#pragma once
// xtape graph: the tape of one training step, drawn.

#include <xtape/engine/tape.hpp>
#include <xtape/tools/trainer.hpp>

#include <string>
#include <vector>

namespace xtape::tools {

/// A tensor that no record made: a Parameter, or an input.
struct GraphLeaf {
    std::uint32_t value;
    std::string name;
    Shape shape;
};

/// What a tape holds before its replay.
struct Graph {
    std::vector<RecordInfo> records;
    std::vector<GraphLeaf> leaves;

    std::size_t kept_bytes() const;
};

/// Of the forward of one micro-batch.
Graph graph_of_step(Learner& learner, Index draw);

/// In Graphviz's language: a node an op with the bytes that it keeps, the scopes as clusters, the shapes on the edges.
std::string to_dot(const Graph& graph, const std::string& title);
/// {"kept_bytes", "records": [{"op", "scope", "inputs", "output", "shape", "kept_bytes"}],
/// "leaves": [{"value", "name", "shape"}]}; inputs and output are numbers of values.
Json to_json(const Graph& graph);

/// The subcommand. It sets `action` to what the arguments ask for.
void add_graph(CLI::App& app, std::function<Exit()>& action);

}  // namespace xtape::tools
