//! Speaks HTTP: commands over the Unix socket in the state directory, views over loopback. Decides nothing.

pub mod wire;
