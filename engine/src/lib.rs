//! Trains and runs recurrent and neural language models on CPUs.
