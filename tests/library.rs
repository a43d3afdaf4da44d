//! The library in one process: what it promises, to whom and in which bytes.

mod api;
mod architecture;
mod clock;
mod devices;
mod examples;
mod files;
mod finer;
mod given_up;
mod golden;
mod leaving;
mod long_life;
mod model;
mod opendal;
mod requests;
mod s3;
mod secrets;
mod serving;
