#include <xtape/engine/elementwise.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>

#include <fmt/format.h>

namespace xtape {

using detail::Keep;
using detail::Record;
using detail::Value;
using detail::ValueId;

namespace {

std::uint64_t next_serial() {
    static std::atomic<std::uint64_t> serial{0};
    return ++serial;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void check_cotangent(const Shape& output, const Shape& cotangent, std::string_view caller) {
    if (cotangent != output)
        throw ShapeError(fmt::format("{}: the cotangent has another shape: output is {}, cotangent is {}", caller,
                                     to_string(output), to_string(cotangent)));
}

template <class T> const T* first_not_finite(const Tensor<T>& x) {
    const auto values = x.values();
    const auto at = std::find_if(values.begin(), values.end(), [](T v) { return !std::isfinite(v); });
    return at == values.end() ? nullptr : &*at;
}

}  // namespace

template <class T> Tape<T>::Tape(TapeOptions options) : options_(options), serial_(next_serial()), outer_(innermost_) {
    values_.reserve(64);
    records_.reserve(32);
    innermost_ = this;
}

template <class T> Tape<T>::~Tape() {
    while (!records_.empty()) records_.pop_back();
    innermost_ = outer_;
}

// ---- recording

template <class T> bool Tape<T>::wants_grad(const Tensor<T>& x) const {
    if (!x) return false;
    if (x.body()->parameter != nullptr) return true;
    return x.body()->tape == serial_ && values_[x.body()->value].wants_grad;
}

template <class T> ValueId Tape<T>::value_of(const Tensor<T>& x) {
    if (!x) return detail::no_value;
    if (x.body()->tape == serial_) return x.body()->value;
    if (guarded_ != nullptr && x.body()->tape == guarded_->serial_ && guarded_->wants_grad(x))
        throw ValueError(fmt::format("remat: the function reads a tensor of the tape that is not an argument: x is {}",
                                     to_string(x.shape())));
    Value<T>& value = values_.emplace_back();
    value.shape = x.shape();
    if (detail::ParameterState<T>* parameter = x.body()->parameter; parameter != nullptr) {
        value.parameter = parameter;
        value.sink = &parameter->grad;
        value.leaf = value.wants_grad = true;
    }
    return static_cast<ValueId>(values_.size() - 1);
}

template <class T> ValueId Tape<T>::index_of(const Indices& x) {
    if (!x) return detail::no_value;
    const auto known = std::find_if(indices_.begin(), indices_.end(),
                                    [&](const auto& entry) { return entry.original.body() == x.body(); });
    if (known != indices_.end()) return static_cast<ValueId>(known - indices_.begin());
    indices_.push_back({x, x});
    return static_cast<ValueId>(indices_.size() - 1);
}

template <class T> void Tape<T>::keep(ValueId id, const Tensor<T>& x) {
    Value<T>& value = values_[id];
    ++value.readers;
    if (value.parameter == nullptr && !value.data && value.recipe == detail::no_record) value.data = x;
}

template <class T> void Tape<T>::mark(const Tensor<T>& x, ValueId id) const {
    x.body()->tape = serial_;
    x.body()->value = id;
}

template <class T>
void Tape<T>::push(std::unique_ptr<Record<T>> record, const Tensor<T>& output, Keep keep, bool wants_grad) {
    Value<T>& value = values_.emplace_back();
    value.shape = output.shape();
    value.wants_grad = wants_grad;
    if (keep == Keep::always) {
        value.data = output;
        ++value.readers;
    } else if (keep == Keep::as_recipe) {
        value.recipe = static_cast<std::uint32_t>(records_.size());
    }
    record->output = static_cast<ValueId>(values_.size() - 1);
    record->scope = detail::current_scope();
    mark(output, record->output);
    records_.push_back(std::move(record));
}

template <class T> Tensor<T> Tape<T>::leaf(const Tensor<T>& x) {
    Tensor<T> leaf = x.alias(x.shape());
    Value<T>& value = values_.emplace_back();
    value.shape = x.shape();
    value.leaf = value.wants_grad = true;
    if (options_.keep_records) value.data = leaf;
    mark(leaf, static_cast<ValueId>(values_.size() - 1));
    return leaf;
}

template <class T> bool Tape<T>::finite(const Tensor<T>& x) { return !x || first_not_finite(x) == nullptr; }

template <class T>
void Tape<T>::check_finite(std::string_view op, const detail::ScopeNode* node, const Tensor<T>& y,
                           bool finite_input) const {
    const T* at = first_not_finite(y);
    if (at == nullptr) return;
    const std::string scope = detail::path_of(node);
    throw ValueError(fmt::format("check_finite: first {} at {}{}{}, row {}; its input was {}",
                                 std::isnan(*at) ? "NaN" : "infinity", scope, scope.empty() ? "" : ".", op,
                                 (at - y.data()) / std::max<Index>(1, y.shape().columns()),
                                 finite_input ? "finite" : "not: look at the Parameters and leaves"));
}

// ---- the reverse sweep

template <class T> void Tape<T>::backward(const Tensor<T>& loss) {
    root_of(loss, "backward");
    check_scalar(loss, "backward");
    backward(loss, Tensor<T>::full(loss.shape(), T(1)));
}

template <class T> void Tape<T>::backward(const Tensor<T>& output, const Tensor<T>& cotangent) {
    const ValueId root = root_of(output, "backward");
    check_cotangent(output.shape(), cotangent.shape(), "backward");
    sweep(root, cotangent);
}

/// While it lives, the sweep goes to some leaves alone, and the gradients of Parameters to tensors of the caller's.
template <class T> class Tape<T>::Choice {
public:
    Choice(Tape& tape, std::span<const Tensor<T>* const> of, std::span<Tensor<T>> gradients) : tape_(tape) {
        tape_.choose(of, gradients);
    }
    ~Choice() {
        if (tape_.options_.keep_records) tape_.choose_all();
    }
    Choice(const Choice&) = delete;
    Choice& operator=(const Choice&) = delete;

private:
    Tape& tape_;
};

template <class T>
std::vector<Tensor<T>> Tape<T>::gradient(const Tensor<T>& loss,
                                         std::initializer_list<std::reference_wrapper<const Tensor<T>>> of) {
    root_of(loss, "gradient");
    check_scalar(loss, "gradient");
    std::vector<const Tensor<T>*> pointers;
    for (const Tensor<T>& x : of) pointers.push_back(&x);
    return gradient(loss, Tensor<T>::full(loss.shape(), T(1)), pointers);
}

template <class T>
std::vector<Tensor<T>> Tape<T>::gradient(const Tensor<T>& output, const Tensor<T>& cotangent,
                                         std::span<const Tensor<T>* const> of) {
    const ValueId root = root_of(output, "gradient");
    check_cotangent(output.shape(), cotangent.shape(), "gradient");
    std::vector<Tensor<T>> gradients(of.size());
    const Choice choice(*this, of, gradients);
    sweep(root, cotangent);
    for (std::size_t i = 0; i < of.size(); ++i) {
        if (of[i]->body()->parameter == nullptr) gradients[i] = std::move(values_[of[i]->body()->value].grad);
        if (gradients[i]) continue;
        const auto twin =
            std::find_if(of.begin(), of.end(), [&](const Tensor<T>* x) { return x->body() == of[i]->body(); });
        const auto first = static_cast<std::size_t>(twin - of.begin());
        gradients[i] = first < i ? gradients[first] : Tensor<T>::zeros(of[i]->shape());
    }
    return gradients;
}

template <class T> void Tape<T>::choose(std::span<const Tensor<T>* const> of, std::span<Tensor<T>> gradients) {
    const auto is_leaf = [&](const detail::TensorBody<T>* body) {
        return body->parameter != nullptr || (body->tape == serial_ && values_[body->value].leaf);
    };
    for (std::size_t i = 0; i < of.size(); ++i) {
        if (*of[i] && is_leaf(of[i]->body())) continue;
        throw ValueError(
            fmt::format("gradient: tensor {} is neither a Parameter nor a leaf of this tape: x is {}; take "
                        "x = tape.leaf(x) before it is used",
                        i, to_string(of[i]->shape())));
    }
    sinks_.clear();
    for (Value<T>& value : values_) {
        value.wants_grad = false;
        value.grad = {};
    }
    for (std::size_t i = 0; i < of.size(); ++i) {
        const detail::TensorBody<T>* body = of[i]->body();
        if (body->parameter != nullptr)
            sinks_.emplace_back(body->parameter, &gradients[i]);
        else
            values_[body->value].wants_grad = true;
    }
    narrow();
}

/// What `choose` narrowed, as it was recorded: a kept tape may go on with `backward`.
template <class T> void Tape<T>::choose_all() {
    chosen_ = false;
    sinks_.clear();
    for (Value<T>& value : values_) {
        value.wants_grad = value.leaf;
        if (value.parameter != nullptr) value.sink = &value.parameter->grad;
    }
    spread();
}

template <class T> void Tape<T>::choose_like(const Tape& outer) {
    if (!outer.chosen_) return;
    sinks_ = outer.sinks_;
    narrow();
}

template <class T> void Tape<T>::narrow() {
    chosen_ = true;
    for (Value<T>& value : values_) {
        if (value.parameter == nullptr) continue;
        const auto sink = std::find_if(sinks_.begin(), sinks_.end(),
                                       [&](const auto& entry) { return entry.first == value.parameter; });
        value.wants_grad = sink != sinks_.end();
        if (value.wants_grad) value.sink = sink->second;
    }
    spread();
}

/// Spreads the choice of leaves over all values: what depends on none of them wants no gradient.
template <class T> void Tape<T>::spread() {
    for (const auto& record : records_) {
        values_[record->output].wants_grad =
            record->reads_parameters || std::ranges::any_of(record->inputs(), [&](ValueId id) {
                return id != detail::no_value && values_[id].wants_grad;
            });
    }
}

template <class T> ValueId Tape<T>::root_of(const Tensor<T>& output, std::string_view caller) const {
    if (!output || output.body()->tape != serial_)
        throw ValueError(
            fmt::format("{}: this tape did not record the tensor: it depends on no Parameter or leaf, or "
                        "was made before the tape or under Pause",
                        caller));
    if (swept_ && !options_.keep_records)
        throw ValueError(
            fmt::format("{}: this tape is used up by an earlier call; make a new tape, or one with "
                        "keep_records",
                        caller));
    if (lost_parameter_)
        throw ValueError(fmt::format("{}: a Parameter that this tape reads has been destroyed", caller));
    return output.body()->value;
}

template <class T> void Tape<T>::check_scalar(const Tensor<T>& loss, std::string_view caller) const {
    if (loss.size() != 1)
        throw ShapeError(fmt::format("{}: the loss must be a scalar: loss is {}; take mean(loss), or pass a cotangent",
                                     caller, to_string(loss.shape())));
}

template <class T> void Tape<T>::sweep(ValueId root, const Tensor<T>& cotangent) {
    swept_ = true;
    const Pause pause;
    if (options_.keep_records)  // what a sweep that was stopped by an error has left
        for (Value<T>& value : values_) value.grad = {};
    if (values_[root].wants_grad) pass(cotangent, root);
    for (std::size_t i = records_.size(); i-- > 0;) {
        Record<T>& record = *records_[i];
        Value<T>& output = values_[record.output];
        if (output.recipe != detail::no_record) output.data = {};  // was made again for its readers, which are done
        if (output.grad && output.wants_grad) hook_ ? hook_(i, record) : replay_vjp(record);
        output.grad = {};
        if (options_.keep_records) continue;
        output.data = {};
        records_.pop_back();
    }
    if (!options_.keep_records) {
        for (Value<T>& value : values_) value.data = {};
        indices_.clear();
    }
}

template <class T> void Tape<T>::replay_vjp(Record<T>& record) {
    const double start = options_.profile ? now() : 0;
    record.vjp(*this);
    if (options_.profile) add_to_profile(record, now() - start);
    if (!options_.check_finite) return;
    for (const ValueId id : record.inputs()) {
        if (id == detail::no_value || !values_[id].cotangent() || !values_[id].wants_grad) continue;
        if (first_not_finite(values_[id].cotangent()) == nullptr) continue;
        const std::string scope = detail::path_of(record.scope);
        throw ValueError(fmt::format("check_finite: first NaN or infinity of a gradient at the vjp of {}{}{}", scope,
                                     scope.empty() ? "" : ".", record.name()));
    }
}

template <class T> void Tape<T>::run_again(ValueId id) {
    values_[id].data = Tensor<T>::unwritten(values_[id].shape);
    records_[values_[id].recipe]->forward(*this);
}

template <class T> detail::Destination<T> Tape<T>::destination(ValueId id) {
    if (id == detail::no_value || !values_[id].wants_grad) return {nullptr, values_[0].shape, false};
    Value<T>& value = values_[id];
    Tensor<T>& grad = value.cotangent();
    const bool accumulate = static_cast<bool>(grad);
    if (!accumulate) grad = Tensor<T>::unwritten(value.shape);
    if (grad.shared()) grad = Tensor<T>(grad.shape(), grad.values());
    return {grad.body()->data, value.shape, accumulate};
}

template <class T> detail::Destination<T> Tape<T>::destination_over(ValueId id) {
    Value<T>& value = values_[id];
    const bool alone = !options_.keep_records && value.wants_grad && value.readers == 1 && value.data && !value.leaf &&
                       !value.grad && !value.data.shared();
    if (!alone) return destination(id);
    value.grad = std::move(value.data);
    return {value.grad.body()->data, value.shape, false};
}

template <class T> void Tape<T>::pass(const Tensor<T>& gradient, ValueId to) {
    Value<T>& value = values_[to];
    if (!value.wants_grad) return;
    if (gradient.size() != value.shape.size()) {
        if (broadcast("vjp", value.shape, gradient.shape()) != gradient.shape())
            throw ShapeError(fmt::format("vjp: the gradient does not fit its input: gradient is {}, input is {}",
                                         to_string(gradient.shape()), to_string(value.shape)));
        detail::reduce_into(destination(to), detail::view(gradient));
    } else if (Tensor<T>& grad = value.cotangent(); !grad) {
        grad = gradient.shape() == value.shape ? gradient : gradient.alias(value.shape);
    } else {
        T* sum = destination(to).data;
        std::transform(gradient.values().begin(), gradient.values().end(), sum, sum, std::plus<T>());
    }
}

// ---- kept records

template <class T> void Tape<T>::set(const Tensor<T>& leaf, const Tensor<T>& value) {
    if (!options_.keep_records || !leaf || leaf.body()->tape != serial_ || !values_[leaf.body()->value].leaf)
        throw ValueError(
            "set: the tensor is not a leaf of a tape that keeps its records; make the tape with "
            "{.keep_records = true} and the tensor with tape.leaf");
    if (leaf.shape() != value.shape())
        throw ShapeError(fmt::format("set: the new values have another shape: leaf is {}, value is {}",
                                     to_string(leaf.shape()), to_string(value.shape())));
    values_[leaf.body()->value].data = value;
}

template <class T> void Tape<T>::set(const Indices& original, const Indices& value) {
    const auto entry = std::find_if(indices_.begin(), indices_.end(),
                                    [&](const auto& known) { return known.original.body() == original.body(); });
    if (!options_.keep_records || entry == indices_.end())
        throw ValueError("set: the indices are read by no record of a tape that keeps its records");
    if (original.shape() != value.shape())
        throw ShapeError(fmt::format("set: the new indices have another shape: original is {}, value is {}",
                                     to_string(original.shape()), to_string(value.shape())));
    entry->current = value;
}

template <class T> void Tape<T>::replay() {
    if (!options_.keep_records)
        throw ValueError("replay: this tape does not keep its records; make it with {.keep_records = true}");
    const Pause pause;
    swept_ = false;
    for (Value<T>& value : values_) {  // the same array under another shape must not hold its buffer: it is made anew
        const detail::TensorBody<T>* body = value.data.body();
        if (body != nullptr && !value.leaf && body->base != nullptr && body->count == 1) value.data = {};
    }
    for (const auto& record : records_) {
        record->forward(*this);
        if (!options_.check_finite) continue;
        const bool finite_input = std::ranges::all_of(
            record->inputs(), [&](ValueId id) { return id == detail::no_value || finite(tensor(id)); });
        check_finite(record->name(), record->scope, values_[record->output].data, finite_input);
    }
}

template <class T> Tensor<T> Tape<T>::value(const Tensor<T>& x) const {
    if (!options_.keep_records || !x || x.body()->tape != serial_)
        throw ValueError("value: the tensor was not recorded by a tape that keeps its records");
    return values_[x.body()->value].data;
}

template <class T> Tensor<T> Tape<T>::tensor(ValueId id) {
    remake(id);
    const Value<T>& value = values_[id];
    if (value.parameter == nullptr) return value.data;
    value.parameter->body->retain();
    return Tensor<T>(detail::BodyRef<T>(value.parameter->body));
}

template <class T> void Tape<T>::replace(ValueId id, const Tensor<T>& x) {
    values_[id].data = x.alias(x.shape());
    mark(values_[id].data, id);
}

template <class T> Tensor<T> Tape<T>::rewrite(ValueId id) {
    Value<T>& value = values_[id];
    if (value.data.body()->count > 1) {
        value.data = Tensor<T>::unwritten(value.shape);
        mark(value.data, id);
    }
    return value.data;
}

template <class T> bool Tape<T>::reads(const detail::ParameterState<T>* parameter) {
    for (const Tape* tape = innermost_; tape != nullptr; tape = tape->outer_) {
        if (tape->swept_ || tape->records_.empty()) continue;
        if (std::ranges::any_of(tape->values_, [&](const Value<T>& value) { return value.parameter == parameter; }))
            return true;
    }
    return false;
}

template <class T> void Tape<T>::forget(const detail::ParameterState<T>* parameter) {
    for (Tape* tape = innermost_; tape != nullptr; tape = tape->outer_) {
        if (std::ranges::any_of(tape->values_, [&](const Value<T>& value) { return value.parameter == parameter; }))
            tape->lost_parameter_ = true;
    }
}

// ---- walking

template <class T> std::size_t Tape<T>::kept_bytes(const Record<T>& record) const {
    const Value<T>& output = values_[record.output];  // its data may have become a gradient by now
    const bool kept = output.readers > 0 && output.recipe == detail::no_record;
    return record.saved_bytes() + (kept ? static_cast<std::size_t>(output.shape.size()) * sizeof(T) : 0);
}

template <class T> std::vector<RecordInfo> Tape<T>::records() const {
    std::vector<RecordInfo> all;
    for (const auto& record : records_) {
        const auto inputs = record->inputs();
        all.push_back({record->name(),
                       detail::path_of(record->scope),
                       {inputs.begin(), inputs.end()},
                       record->output,
                       values_[record->output].shape,
                       kept_bytes(*record)});
    }
    return all;
}

template <class T> void Tape<T>::add_to_profile(const Record<T>& record, double backward_seconds) {
    const std::string scope = detail::path_of(record.scope);
    auto row = std::ranges::find_if(
        profile_, [&](const ProfileRow& known) { return known.op == record.name() && known.scope == scope; });
    if (row == profile_.end()) row = profile_.insert(row, ProfileRow{record.name(), scope});
    ++row->calls;
    row->forward_seconds += record.forward_seconds;
    row->backward_seconds += backward_seconds;
    row->kept_bytes += kept_bytes(record);
}

template <class T> std::size_t Tape<T>::bytes() const {
    std::size_t total = values_.capacity() * sizeof(Value<T>) + records_.capacity() * sizeof(void*);
    for (const Value<T>& value : values_) {
        if (value.data) total += value.data.body()->bytes;
    }
    for (const auto& record : records_) total += record->saved_bytes();
    return total;
}

template class Tape<float>;
template class Tape<double>;

}  // namespace xtape
