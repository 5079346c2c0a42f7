/// xtape_compare: a hand-written backward pass, judged from C (C99; also from CUDA, Objective-C, Rust and C++ hosts).
/// Raw pointers in, a report out. Three ways to the truth:
///   xtape_gradcheck        finite differences of the host's own forward pass: nothing of xtape's models is needed;
///   xtape_compare          the right gradients in double, from wherever the host has them;
///   xtape_compare_export   those of a folder that `xtape audit MODEL --export DIR --answers` has written.
/// All arrays are row-major and stay the host's. No C++ exception leaves a call: what went wrong is in the report.
/// Link xtape::engine (xtape::nn for those that read files), or its static library and a C++ runtime.
#ifndef XTAPE_COMPARE_H
#define XTAPE_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { XTAPE_MAX_RANK = 6 };

typedef enum { XTAPE_F32, XTAPE_F64, XTAPE_I32 } xtape_dtype;

typedef enum {
    XTAPE_AGREES,
    XTAPE_DIFFERS,
    XTAPE_VACUOUS,       ///< the true gradient is zero here, so that nothing was checked
    XTAPE_UNREACHED,     ///< the loss does not depend on it
    XTAPE_NEVER_WRITTEN  ///< all zeros where the true gradient is not
} xtape_verdict;

/// A parameter or an input that the loss is differentiated by, with what the hand-written backward says of it.
/// Fields that are left out of an initializer are 0, and mean f32 and none.
typedef struct {
    const char* name;
    int rank;  ///< of `extents`; 0 is one number
    int64_t extents[XTAPE_MAX_RANK];
    const void* gradient;  ///< the hand-written one; NULL where there is none
    xtape_dtype gradient_dtype;
    void* values;  ///< for xtape_gradcheck: what the loss reads; moved in place, and put back bit for bit
    xtape_dtype values_dtype;
    const double* truth;  ///< for xtape_compare: the right gradient; NULL where the loss does not depend on it
    double noise;         ///< for xtape_compare: the relative error that f32 makes here, where it is known; else 0
} xtape_tensor;

/// What a report says of one tensor: a the hand-written gradient, b the truth. Its strings live as long as the report.
typedef struct {
    const char* name;
    xtape_verdict verdict;
    const char* diagnosis;  ///< "transposed", "constant factor 0.125", ...; empty where there is none
    double max_error;       ///< max|a - b|
    double relative;        ///< max|a - b| / max|b|
    double cosine;
    double scale;            ///< the s for which s b is nearest to a
    double noise_ratio;      ///< the error in multiples of what rounding alone makes
    int64_t over_tolerance;  ///< how many elements are wrong
    int64_t worst;           ///< the row-major place of the largest error; -1 where the check has none
    double worst_candidate;  ///< a there
    double worst_truth;      ///< b there
} xtape_row;

typedef struct xtape_report xtape_report;

/// The loss of the host's own forward pass at the present values of its parameters. Where they are f32 it is taken to
/// be as inexact as f32 is: a forward pass in double judges more sharply, of a gradient in f32 as well.
typedef double (*xtape_loss)(void* context);

/// Gradients against central differences of `loss` in random directions; a tensor that differs is differenced entry by
/// entry, for its diagnosis. A direction that crosses a kink (relu at 0) is drawn again.
xtape_report* xtape_gradcheck(xtape_loss loss, void* context, const xtape_tensor* parameters, size_t count);

/// Gradients against the truth that is given with them.
xtape_report* xtape_compare(const xtape_tensor* tensors, size_t count);

/// Gradients against the answers of an exported folder, by their names, with the noise floors that it has of them.
/// `truth` and `noise` are not looked at. Needs xtape::nn.
xtape_report* xtape_compare_export(const char* folder, const xtape_tensor* tensors, size_t count);

/// Reads an array of a .safetensors file, of `count` elements, as that type: the parameters and inputs of an exported
/// folder, say. 0 where it did; 1 where there is no such file or array, or one of another size or, for XTAPE_I32, of
/// numbers that are none. Needs xtape::nn.
int xtape_read(const char* file, const char* name, xtape_dtype dtype, void* into, size_t count);

/// 1 where something was checked and nothing differs, else 0. A NULL report has not passed.
int xtape_passed(const xtape_report* report);
/// The report for a person: a table, with a diagnosis where there is one; or why there is none.
const char* xtape_text(const xtape_report* report);
/// The sentence that says why nothing could be judged; NULL where it could.
const char* xtape_error(const xtape_report* report);
/// The rows, one for each tensor, in their order; NULL beyond the last.
size_t xtape_row_count(const xtape_report* report);
const xtape_row* xtape_row_at(const xtape_report* report, size_t index);
void xtape_free(xtape_report* report);

#ifdef __cplusplus
}
#endif

#endif
