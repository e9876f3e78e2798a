//! ocinet
