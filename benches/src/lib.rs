//! Shared pieces of the benches.

<<<<<<< HEAD
pub mod elementwise;
=======
pub mod cells;
>>>>>>> aaee104 (Bench the recurrent cells)
