//! What is in a database, and how to get back to it.
