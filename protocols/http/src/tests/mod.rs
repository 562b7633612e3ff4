mod body;
mod client;
mod server;
