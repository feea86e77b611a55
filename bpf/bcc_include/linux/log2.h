/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC sizes its stack maps with it; all sizes here are powers of two already. */
#define roundup_pow_of_two(number) (number)
