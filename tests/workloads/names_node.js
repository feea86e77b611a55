// As names_c.c, for V8's perf map: prints "ready" once the functions are compiled. Run with --perf-basic-prof.
"use strict";

function spinInner(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum ^= i * 31;
  return sum;
}

class Basket {
  add(n) {
    return spinInner(n) + 1;
  }
}

function spinOuter(basket) {
  return basket.add(100000) + 1;
}

const basket = new Basket();
for (let i = 0; i < 200; i++) spinOuter(basket);
process.stdout.write("ready\n");
const end = Date.now() + 1000 * Number(process.argv[2] || 1);
while (Date.now() < end) spinOuter(basket);
