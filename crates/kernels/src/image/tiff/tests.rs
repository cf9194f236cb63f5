//! Values of files that are made here, tag by tag.
