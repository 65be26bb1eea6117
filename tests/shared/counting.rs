//! An allocator that tells of each allocation.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator. It calls the function with the bytes taken, and with those given back as
/// a negative number.
pub(crate) struct Counting(pub(crate) fn(isize));

// SAFETY: hands everything to the system's allocator, and counts beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        (self.0)(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}
