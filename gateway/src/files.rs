//! Files that hold secrets: created with mode 0600, never overwritten, replaced whole or not at all.
