mod ephemeral;
mod events;
mod world;
