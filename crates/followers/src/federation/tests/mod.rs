mod ephemeral;
mod events;
mod refusals;
mod world;
