#include <xtape/engine/error.hpp>
#include <xtape/engine/scope.hpp>

#include <cstring>
#include <deque>

#include <fmt/format.h>

namespace xtape {
namespace detail {

namespace {

/// Owns the nodes of one thread; a deque, because nodes point at each other.
struct ScopeTree {
    std::deque<ScopeNode> nodes = std::deque<ScopeNode>(1);
    ScopeNode* current = &nodes.front();
};

ScopeTree& tree() {
    thread_local ScopeTree tree;
    return tree;
}

bool same_name(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

}  // namespace

ScopeNode*& current_scope() { return tree().current; }

std::string path_of(const ScopeNode* node) {
    if (node == nullptr || node->parent == nullptr) return {};
    std::string path = path_of(node->parent);
    if (!path.empty()) path += '.';
    path += node->name;
    if (node->index >= 0) path += fmt::format(".{}", node->index);
    return path;
}

void rethrow_located(const Error& error, Where where) {
    std::string text = error.what();
    if (const std::string scope = path_of(current_scope()); !scope.empty()) text += fmt::format(" (in {})", scope);
    if (where.file != nullptr) text += fmt::format(" ({}:{})", where.file, where.line);
    if (dynamic_cast<const ShapeError*>(&error) != nullptr) throw ShapeError(text);
    if (dynamic_cast<const ValueError*>(&error) != nullptr) throw ValueError(text);
    if (dynamic_cast<const FileError*>(&error) != nullptr) throw FileError(text);
    throw Error(text);
}

}  // namespace detail

Scope::Scope(const char* name, int index) : outer_(detail::current_scope()) {
    detail::ScopeNode** link = &outer_->first_child;
    while (*link != nullptr && !((*link)->index == index && detail::same_name((*link)->name, name)))
        link = &(*link)->next_sibling;
    if (*link == nullptr) *link = &detail::tree().nodes.emplace_back(detail::ScopeNode{name, index, outer_});
    detail::current_scope() = *link;
}

}  // namespace xtape
