//! As inlined.cc.
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

mod shop {
    use std::hint::black_box;

    pub struct Item(pub u64);

    impl Item {
        #[inline(always)]
        pub fn taxed(&self) -> u64 {
            let mut sum = self.0;
            for i in 0..1000u64 {
                sum = black_box(sum.wrapping_mul(31) + i);
            }
            sum
        }
    }

    #[inline(always)]
    fn add_up(items: &[Item]) -> u64 {
        let mut sum = 0u64;
        for item in items {
            sum ^= item.taxed();
        }
        sum
    }

    pub struct Cart(pub Vec<Item>);

    impl Cart {
        #[inline(never)]
        pub fn total(&self) -> u64 {
            add_up(&self.0) ^ 1
        }
    }
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let cart = shop::Cart((0..10).map(shop::Item).collect());
    println!("ready");
    std::io::stdout().flush().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for _ in 0..100 {
            black_box(cart.total());
        }
    }
}
