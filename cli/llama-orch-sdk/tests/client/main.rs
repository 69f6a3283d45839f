//! The client against a server that says what each test wants it to say.

mod calls;
mod server;
mod streams;
