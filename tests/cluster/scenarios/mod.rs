//! One file per fault. Each starts what it needs and ends with the check.

mod one_node;
