//! Checks the rules of this repository that no compiler knows: names, prose and the direction of imports.
//!
//! - `source` reads the files and splits Rust into tokens and comments
//! - `architecture` checks the page that says where things are
//! - `dependencies` checks the crates of others
//! - `imports` follows `use` and inline paths from file to file
//! - `names` finds types that are defined twice
//! - `prose` checks documentation and comments
//! - `size` finds long functions and prints figures

mod architecture;
mod dependencies;
mod imports;
mod names;
mod prose;
mod size;
mod source;
