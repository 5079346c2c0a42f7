#pragma once
// Tape<T>: the recording of ops and its replay. Three structures: a Value for each tensor that a record touches
// (its shape, what is kept of its elements, its cotangent), a Record for each op (op.hpp makes them), and the order of
// the records. `sweep` is the whole of reverse mode. Start reading there.

#include <xtape/engine/parameter.hpp>
#include <xtape/engine/scope.hpp>
#include <xtape/engine/tensor.hpp>

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

namespace xtape {

namespace detail {

/// The number of a Value on its tape.
using ValueId = std::uint32_t;
inline constexpr ValueId no_value = std::numeric_limits<ValueId>::max();
inline constexpr std::uint32_t no_record = std::numeric_limits<std::uint32_t>::max();

/// What becomes of an output that a vjp may read: dropped until one says so, kept, or made again when one does.
enum class Keep { on_demand, always, as_recipe };

inline constinit thread_local int paused = 0;

/// What the tape knows of one tensor.
template <class T> struct Value {
    Shape shape;
    Tensor<T> data;                          ///< its elements, where some vjp reads them (a Parameter's are its own)
    Tensor<T> grad;                          ///< its cotangent, as far as the reverse sweep has come
    ParameterState<T>* parameter = nullptr;  ///< set for a Parameter
    Tensor<T>* sink = nullptr;               ///< where the gradient of a Parameter is added up, instead of `grad`
    std::uint32_t readers = 0;               ///< vjps for which `data` is kept
    std::uint32_t recipe = no_record;        ///< the record that makes `data` again, which is not kept
    bool leaf = false;                       ///< a Parameter, or made by `Tape::leaf`
    bool wants_grad = false;

    Tensor<T>& cotangent() { return sink != nullptr ? *sink : grad; }
    const T* elements() const { return parameter != nullptr ? parameter->body->data : data.data(); }
};

/// Where a vjp writes the gradient of one input; false when that input wants none.
template <class T> struct Destination {
    T* data;
    const Shape& shape;
    bool accumulate;  ///< add to what is there, instead of overwriting it

    explicit operator bool() const { return data != nullptr; }
};

/// One op that ran: how to take its cotangent back to its inputs, and how to run it again.
template <class T> class Record {
public:
    virtual ~Record() = default;
    virtual std::string_view name() const = 0;
    virtual std::span<const ValueId> inputs() const = 0;
    /// Adds the output's cotangent, taken back, to the cotangents of the inputs that want one.
    virtual void vjp(Tape<T>& tape) = 0;
    /// Computes the output again from the inputs' present values.
    virtual void forward(Tape<T>& tape) = 0;
    /// Of what the forward saved for the vjp.
    virtual std::size_t saved_bytes() const = 0;
    /// For a check that knows the op: the Indices it reads at a place among its inputs, and its attribute `options`,
    /// where it has one of that type.
    virtual ValueId index_input(int) const { return no_value; }
    virtual const void* options(const std::type_info&) const { return nullptr; }

    static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
    static void operator delete(void* block, std::size_t bytes) { pool_release(block, bytes); }

    ValueId output = no_value;
    const ScopeNode* scope = nullptr;
    double forward_seconds = 0;
    bool reads_parameters = false;  ///< perhaps some that are not among its inputs
};

/// Indices that a record reads, and what `set` has put in their place.
struct IndexValue {
    Indices original, current;
};

}  // namespace detail

struct TapeOptions {
    bool keep_records = false;  ///< so that `replay` works; keeps every intermediate value
    bool check_finite = false;  ///< stop at the first op that makes a NaN or an infinity
    bool profile = false;       ///< measure each op: see `Tape::profile`
    bool recompute = false;     ///< outputs of norms and elementwise ops of 64 KiB or more are not kept for the reverse
                                ///< sweep but made again, where all that it takes is kept anyway
};

/// One recorded op, for whoever walks the tape.
struct RecordInfo {
    std::string_view op;
    std::string scope;
    std::vector<std::uint32_t> inputs;  ///< numbers of values
    std::uint32_t output;
    Shape shape;             ///< of the output
    std::size_t kept_bytes;  ///< of the output (when some vjp reads it, and it is not made again) and of what was saved
};

/// Time and memory of all records of one op in one scope.
struct ProfileRow {
    std::string_view op;
    std::string scope;
    int calls = 0;
    double forward_seconds = 0;
    double backward_seconds = 0;
    std::size_t kept_bytes = 0;
};

/// While it lives, ops on T on this thread are recorded; the innermost tape records. It owns the gradients of
/// intermediates. `backward` and `gradient` use it up, unless it keeps its records.
template <class T> class Tape {
public:
    explicit Tape(TapeOptions options = {});
    ~Tape();
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;

    /// Adds the gradient of a scalar loss into the grad of every Parameter that it depends on.
    /// Throws ValueError for a loss that this tape did not record, that is not a scalar, or a second call.
    void backward(const Tensor<T>& loss);
    /// The same for a tensor of any shape, from its cotangent.
    void backward(const Tensor<T>& output, const Tensor<T>& cotangent);

    /// The tensor, wanting a gradient from here on.
    Tensor<T> leaf(const Tensor<T>& x);
    /// Gradients of a scalar loss by leaves and Parameters, in their order (zeros where it does not depend on one).
    /// No Parameter's grad is touched. Throws ValueError for a tensor that is neither.
    std::vector<Tensor<T>> gradient(const Tensor<T>& loss,
                                    std::initializer_list<std::reference_wrapper<const Tensor<T>>> of);
    std::vector<Tensor<T>> gradient(const Tensor<T>& output, const Tensor<T>& cotangent,
                                    std::span<const Tensor<T>* const> of);

    /// For a tape that keeps its records: puts new values (of the same shape) under a leaf, or new indices under old.
    void set(const Tensor<T>& leaf, const Tensor<T>& value);
    void set(const Indices& original, const Indices& value);
    /// For a tape that keeps its records: all ops again, into the same buffers (a buffer held outside is replaced).
    void replay();
    /// For a tape that keeps its records: the present value of a tensor that it recorded.
    Tensor<T> value(const Tensor<T>& x) const;
    /// For checks: what a sweep calls in place of the vjp of record i, which it may call, or send other gradients with
    /// `pass`. An empty one ends that.
    using VjpHook = std::function<void(std::size_t i, detail::Record<T>& record)>;
    void hook_vjps(VjpHook hook) { hook_ = std::move(hook); }
    detail::Record<T>& record(std::size_t i) { return *records_[i]; }

    std::vector<RecordInfo> records() const;
    const std::vector<ProfileRow>& profile() const { return profile_; }
    /// What the tape keeps for its replay, tables included. A tensor that others hold too counts in full.
    std::size_t bytes() const;
    std::size_t size() const { return records_.size(); }

    // For the records.
    static Tape* recording() { return detail::paused == 0 ? innermost_ : nullptr; }
    const TapeOptions& options() const { return options_; }
    detail::Value<T>& at(detail::ValueId id) { return values_[id]; }
    const detail::IndexValue& index_at(detail::ValueId id) const { return indices_[id]; }
    bool wants_grad(const Tensor<T>& x) const;
    detail::ValueId value_of(const Tensor<T>& x);
    detail::ValueId index_of(const Indices& x);
    void keep(detail::ValueId id, const Tensor<T>& x);
    /// Makes `x` known to this tape as that value.
    void mark(const Tensor<T>& x, detail::ValueId id) const;
    void push(std::unique_ptr<detail::Record<T>> record, const Tensor<T>& output, detail::Keep keep, bool wants_grad);
    /// Makes a value's elements again, where that is how they are kept.
    void remake(detail::ValueId id) {
        if (values_[id].recipe != detail::no_record && !values_[id].data) run_again(id);
    }
    static bool finite(const Tensor<T>& x);
    /// Throws ValueError when `y`, which an op named `op` has just made, is not finite.
    void check_finite(std::string_view op, const detail::ScopeNode* node, const Tensor<T>& y, bool finite_input) const;
    detail::Destination<T> destination(detail::ValueId id);
    /// The same for the last vjp that reads the value, and writes its gradient over it: the value's own elements, where
    /// nobody else needs them. The value is given up.
    detail::Destination<T> destination_over(detail::ValueId id);
    /// Adds `gradient` to a value's cotangent: sharing its buffer where it is the first and of the same size, and
    /// summed where the value was broadcast to its shape.
    void pass(const Tensor<T>& gradient, detail::ValueId to);
    /// A value's elements as a tensor, and other elements in their place.
    Tensor<T> tensor(detail::ValueId id);
    void replace(detail::ValueId id, const Tensor<T>& x);
    /// For a tape inside a vjp of `outer`: a tensor of `outer` that wants a gradient may not be read here ...
    void guard(const Tape& outer) { guarded_ = &outer; }
    /// ... and gradients of Parameters go where those of `outer` go.
    void choose_like(const Tape& outer);
    /// The tensor to write a record's output into again: the same buffer where nobody else holds it.
    Tensor<T> rewrite(detail::ValueId id);

    // For the parameters: does a record that waits for its replay read this one; and: it is about to be destroyed.
    static bool reads(const detail::ParameterState<T>* parameter);
    static void forget(const detail::ParameterState<T>* parameter);

private:
    friend class Pause;

    class Choice;

    detail::ValueId root_of(const Tensor<T>& output, std::string_view caller) const;
    void check_scalar(const Tensor<T>& loss, std::string_view caller) const;
    void choose(std::span<const Tensor<T>* const> of, std::span<Tensor<T>> gradients);
    void choose_all();
    void narrow();
    void spread();
    void sweep(detail::ValueId root, const Tensor<T>& cotangent);
    void replay_vjp(detail::Record<T>& record);
    void run_again(detail::ValueId id);
    void add_to_profile(const detail::Record<T>& record, double backward_seconds);
    std::size_t kept_bytes(const detail::Record<T>& record) const;

    template <class U> using Table = std::vector<U, detail::PoolAllocator<U>>;

    static inline constinit thread_local Tape* innermost_ = nullptr;

    TapeOptions options_;
    std::uint64_t serial_;
    Tape* outer_;
    const Tape* guarded_ = nullptr;
    bool swept_ = false;
    bool chosen_ = false;          ///< `gradient` chose the leaves: `sinks_` lists the Parameters among them
    bool lost_parameter_ = false;  ///< a Parameter was destroyed before the replay
    Table<detail::Value<T>> values_;
    Table<std::unique_ptr<detail::Record<T>>> records_;
    Table<detail::IndexValue> indices_;
    std::vector<std::pair<const detail::ParameterState<T>*, Tensor<T>*>> sinks_;
    std::vector<ProfileRow> profile_;
    VjpHook hook_;
};

/// Records nothing while it lives.
class Pause {
public:
    Pause() { ++detail::paused; }
    ~Pause() { --detail::paused; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
};

/// The same values, to which no gradient flows.
template <Real T> Tensor<T> detach(const Tensor<T>& x) { return x.alias(x.shape()); }

}  // namespace xtape
