#pragma once
// JSON for the files of a run and for datasets. To parse and to print are most of what the library costs to compile, so
// both are compiled once, here; safetensors.cpp alone, which watches for names given twice, parses by itself. For
// sources only: no other header of a library includes this one.

#include <xtape/engine/error.hpp>

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xtape::nn {

using Json = nlohmann::ordered_json;

/// Throws FileError with the line that is no JSON, and what `check` throws: it sees each value as it is parsed.
Json parse_json(std::string_view text, const Json::parser_callback_t& check = nullptr);

/// What others wrote may have an object of very many members, among which this one finds its way.
using ForeignJson = nlohmann::json;
ForeignJson parse_foreign_json(std::string_view text);

/// On one line, or with so many spaces for each level. Throws Json::exception for a string that is not UTF-8.
std::string print_json(const Json& json, int indent = -1);

/// On one line; bytes that are not UTF-8 are replaced.
std::string one_line(const Json& json);

/// The members of an object that somebody may have written or damaged: what is missing, or not what it is read as, is a
/// FileError that says so. The JSON outlives them.
template <class AnyJson> class Members {
public:
    explicit Members(const AnyJson& json) : json_(json) {
        if (!json.is_object()) throw FileError("it is not a JSON object");
    }

    class Member {
    public:
        Member(std::string_view name, const AnyJson& json) : name_(name), json_(json) {}

        template <class T> T get() const {
            if constexpr (std::same_as<T, bool>) {
                if (json_.is_boolean()) return json_.template get<bool>();
                refuse("true or false");
            } else if constexpr (std::integral<T>) {
                const bool fits = json_.is_number_unsigned() ? std::in_range<T>(json_.template get<std::uint64_t>())
                                                             : json_.is_number_integer() &&
                                                                   std::in_range<T>(json_.template get<std::int64_t>());
                if (fits) return json_.template get<T>();
                refuse("a whole number in range");
            } else if constexpr (std::floating_point<T>) {
                if (json_.is_number()) return json_.template get<T>();
                refuse("a number");
            } else if constexpr (std::same_as<T, std::string>) {
                if (json_.is_string()) return json_.template get<T>();
                refuse("a text");
            } else {
                try {
                    return json_.template get<T>();
                } catch (const typename AnyJson::exception&) {
                    refuse("a list of one kind of value");
                }
            }
        }
        template <class T> operator T() const { return get<T>(); }
        const AnyJson& json() const { return json_; }

    private:
        [[noreturn]] void refuse(std::string_view wanted) const {
            const std::string is = one_line(json_);
            throw FileError(fmt::format("{} is {}{}, and should be {}", name_, is.substr(0, 40),
                                        is.size() > 40 ? "..." : "", wanted));
        }

        std::string_view name_;
        const AnyJson& json_;
    };

    Member at(std::string_view name) const {
        const auto found = json_.find(name);
        if (found == json_.end()) throw FileError(fmt::format("there is no {}", name));
        return {name, *found};
    }
    /// `otherwise` where there is none.
    template <class T> T value(std::string_view name, T otherwise) const {
        return json_.contains(name) ? at(name).template get<T>() : otherwise;
    }

private:
    const AnyJson& json_;
};

}  // namespace xtape::nn
