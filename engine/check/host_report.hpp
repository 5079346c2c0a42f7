#pragma once
// What stands behind an xtape_report, for the files that implement xtape_compare.h.

#include <xtape/engine/check/xtape_compare.h>
#include <xtape/engine/check/report.hpp>
#include <xtape/engine/error.hpp>

#include <new>

struct xtape_report {
    xtape::GradReport report;
    std::string text, error;
    std::vector<xtape_row> rows;
};

namespace xtape::check {

/// The judgement of tensors that come with their truth.
GradReport compare_tensors(std::span<const xtape_tensor> tensors);

/// Its strings are the row's.
xtape_row to_c(const GradRow& row);

/// The report of `judgement(tensors)`; what that throws becomes its error. Null where memory has run out.
xtape_report* report_of(std::string_view caller, const xtape_tensor* tensors, std::size_t count,
                        const auto& judgement) noexcept {
    auto* made = new (std::nothrow) xtape_report;
    if (made == nullptr) return nullptr;
    try {
        made->error.assign(caller).append(": ");
        try {
            if (tensors == nullptr && count > 0) throw ValueError("there are no tensors");
            made->report = judgement(std::span(tensors, count));
            made->text = made->report.text();
            for (const GradRow& row : made->report.rows) made->rows.push_back(to_c(row));
            made->error.clear();
        } catch (const std::bad_alloc&) {
            made->error.append("out of memory");
        } catch (const std::exception& error) {
            made->error.append(error.what());
        } catch (...) {
            made->error.append("the loss threw an exception");
        }
    } catch (...) {
        delete made;
        return nullptr;
    }
    return made;
}

}  // namespace xtape::check
