//! Finds what contradicts itself, or another file, in a tree of infrastructure files.
