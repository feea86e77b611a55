/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Stands in for the kernel headers, of which BCC wants a few by name. The CPU program reads no kernel structure,
 * so it needs only the fixed-width types; what is here is right on every kernel, which real headers of another
 * kernel would not be. */
#define CONFIG_BPF_SYSCALL 1
