#pragma once
// Name scopes: so that an error or a profile says `layers.3.attention.softmax`.

#include <string>

namespace xtape {

namespace detail {

/// A place in the tree of scopes that this thread has opened so far. Nodes live as long as the thread.
struct ScopeNode {
    const char* name = "";
    int index = -1;
    ScopeNode* parent = nullptr;
    ScopeNode* first_child = nullptr;
    ScopeNode* next_sibling = nullptr;
};

/// The innermost open scope of this thread.
ScopeNode*& current_scope();

/// `layers.3.attention`; empty at the root.
std::string path_of(const ScopeNode* node);

}  // namespace detail

/// Names the ops that are called while it lives: `Scope scope("layers", 3);`. Opening one again costs no allocation.
class Scope {
public:
    /// `name` must outlive the thread: a string literal. A non-negative `index` is appended to it.
    explicit Scope(const char* name, int index = -1);
    ~Scope() { detail::current_scope() = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

private:
    detail::ScopeNode* outer_;
};

}  // namespace xtape
