//! History: what was published when, what two states differ in, and going back.
