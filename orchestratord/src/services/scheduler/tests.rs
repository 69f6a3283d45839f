//! The services as a whole, with mock engines and a clock that the tests steer.

mod admission;
mod cancel;
mod faults;
mod house;
mod retention;
mod streams;
mod views;
