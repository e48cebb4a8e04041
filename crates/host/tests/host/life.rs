//! The whole life, one part after the other.

mod acquiring;
mod ending;
mod losing;
mod services;
