#pragma once
// The backward pass of a kept tape, run again with something wrong in it. `Rerun` knows the right one: the cotangent of
// every record, and what its vjp sends to each of its inputs. A `WrongVjp` stands in for the vjp of some records.

#include <xtape/engine/tape.hpp>

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace xtape::check {

/// What a vjp sends to the inputs of its record, by their place; empty where it sends nothing.
using Sent = std::vector<Tensor<double>>;

class Rerun;

/// A record at the moment of its vjp.
struct Site {
    Rerun& rerun;
    std::size_t index;  ///< of the record
    Tensor<double> dy;
    Sent right;  ///< what its own vjp sends

    Tensor<double> input(std::size_t place) const;
    Tensor<double> output() const;
    Indices indices(std::size_t place) const;
    /// The attribute `options` of the op, or null.
    template <class Options> const Options* options() const {
        return static_cast<const Options*>(options_of(typeid(Options)));
    }

    /// What its own vjp sends for another cotangent; with other elements in place of input 0, or of the output.
    Sent vjp(const Tensor<double>& cotangent) const;
    Sent vjp_at(const Tensor<double>& x) const;
    Sent vjp_with_output(const Tensor<double>& y) const;

private:
    const void* options_of(const std::type_info& type) const;
};

/// Another vjp: what it sends, or nothing where it does not apply.
using WrongVjp = std::function<std::optional<Sent>(const Site& site)>;

class Rerun {
public:
    using Gradients = std::vector<Tensor<double>>;
    using ValueId = detail::ValueId;

    /// A record reads a value or a Parameter at some place among its inputs.
    struct Edge {
        std::size_t record, place;
    };
    /// A value or variable that wants a gradient, with all that send it one.
    struct Node {
        ValueId value;
        std::optional<std::size_t> variable;  ///< its number in `of`, for a Parameter or leaf
        std::optional<std::size_t> producer;  ///< the record that made it
        std::vector<Edge> edges;
    };

    /// Nothing is recorded while it lives. The tape keeps its records; `of` are Parameters and leaves.
    Rerun(Tape<double>& tape, Tensor<double> output, Tensor<double> cotangent, std::vector<const Tensor<double>*> of);

    const Gradients& right() const { return right_; }
    /// The gradients with another vjp for these records.
    Gradients with(std::span<const std::size_t> records, const WrongVjp& wrong);
    /// The part of the gradients that comes from a record through one of its inputs.
    Gradients through(const Edge& edge, const Node& node);
    /// A record as its vjp meets it in the right backward.
    Site site(std::size_t record);

    Tape<double>& tape() { return tape_; }
    std::size_t records() const { return sent_.size(); }
    /// Whether the right backward passes here.
    bool reached(std::size_t record) const { return static_cast<bool>(cotangents_[record]); }
    const Tensor<double>& cotangent(std::size_t record) const { return cotangents_[record]; }
    const Tensor<double>& sent(const Edge& edge) const { return sent_[edge.record][edge.place]; }
    const std::vector<Node>& nodes() const { return nodes_; }
    std::optional<std::size_t> producer(ValueId value) const;
    /// Of which variables a value is made, one flag each.
    const std::vector<bool>& reach(ValueId value) const { return reach_[value]; }
    /// The number in `of` of a Parameter or leaf.
    std::optional<std::size_t> variable(ValueId value) const;

private:
    void find_reach();
    void find_nodes();

    const Pause pause_;
    Tape<double>& tape_;
    Tensor<double> output_, cotangent_;
    std::vector<const Tensor<double>*> of_;
    Gradients right_;
    std::vector<Tensor<double>> cotangents_;
    std::vector<Sent> sent_;
    std::vector<Node> nodes_;
    std::vector<std::vector<bool>> reach_;
    std::vector<std::optional<std::size_t>> producers_;
};

}  // namespace xtape::check
