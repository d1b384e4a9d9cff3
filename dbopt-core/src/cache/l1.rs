//! The first layer: typed values in this process.
