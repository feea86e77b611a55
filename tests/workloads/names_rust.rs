//! As names_c.c: a module, a generic function and a trait implementation.
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

mod shop {
    use std::hint::black_box;

    #[inline(never)]
    pub fn spin_inner<T: Into<u64>>(n: T) -> u64 {
        let mut sum = 0u64;
        for i in 0..n.into() {
            sum = black_box(sum ^ i.wrapping_mul(31));
        }
        sum
    }

    pub trait Spin {
        fn spin(&self) -> u64;
    }

    pub struct Basket(pub u32);

    impl Spin for Basket {
        #[inline(never)]
        fn spin(&self) -> u64 {
            black_box(spin_inner(self.0)) + 1
        }
    }
}

use shop::Spin;

#[inline(never)]
fn spin_outer(basket: &shop::Basket) -> u64 {
    black_box(basket.spin()) + 1
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("spin_inner {:p}", shop::spin_inner::<u32> as fn(u32) -> u64);
    println!("spin {:p}", <shop::Basket as Spin>::spin as fn(&shop::Basket) -> u64);
    println!("spin_outer {:p}\nready", spin_outer as fn(&shop::Basket) -> u64);
    std::io::stdout().flush().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let basket = shop::Basket(100_000);
    while Instant::now() < end {
        black_box(spin_outer(&basket));
    }
}
