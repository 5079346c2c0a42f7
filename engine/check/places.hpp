#pragma once
// Names for the records of a tape, and which of them stand at the same place in other layers.

#include <xtape/engine/check/rerun.hpp>

#include <map>
#include <string>

namespace xtape::check {

class Places {
public:
    /// `names` are those of the variables of the rerun.
    Places(Rerun& rerun, std::span<const std::string> names);

    /// Records at the same place of all layers (`layers.*`), this one among them, in order.
    const std::vector<std::size_t>& same_place(std::size_t record) const { return by_key_.at(all_[record].key); }
    /// All records of the same op.
    const std::vector<std::size_t>& same_op(std::size_t record) const { return by_op_.at(all_[record].op); }
    /// The record that is in the layer of `record` what `other` is in its own.
    std::optional<std::size_t> counterpart(std::size_t other, std::size_t record) const;
    std::string_view op(std::size_t record) const { return all_[record].op; }

    /// "matmul with layers.1.wq", or "add at layers.1"; with `layers.*` for that place in every layer.
    std::string name(std::size_t record, bool every_layer = false) const;
    /// "the output of rms_norm with ffn_norm", or the name of a variable.
    std::string value_name(const Rerun::Node& node, bool every_layer = false) const;

private:
    struct Place {
        std::string op, scope;
        std::string key = {};       ///< op, scope without numbers, and how many of that op were there before
        std::string layer = {};     ///< the numbers of the scope
        std::string variable = {};  ///< that it reads
        int ordinal = 0;            ///< among those of its op, scope and variable, from 1
        int twins = 0;              ///< how many of these there are
    };

    std::vector<Place> all_;
    std::map<std::string, std::vector<std::size_t>> by_key_, by_op_;
    std::span<const std::string> names_;
};

}  // namespace xtape::check
