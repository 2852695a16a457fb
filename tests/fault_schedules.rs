//! x
mod fault_proxy;
