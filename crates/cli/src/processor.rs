//! The processor that this binary was built for.

/// What to say on a processor that lacks the instructions of x86-64-v3 (Haswell, 2013, or Zen and
/// later), which everything else in this binary may use. `None` on one that has them.
pub(crate) fn too_old() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if !has_v3() {
            return Some(
                "error: this build of tidemill needs a processor with AVX2, BMI2 and FMA (x86-64-v3); \
                 build it from source without `target-cpu` for an older one",
            );
        }
    }
    None
}

/// Asks the processor itself: the standard macro is answered by the compiler when the target has
/// the features.
#[cfg(target_arch = "x86_64")]
fn has_v3() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let highest = __cpuid(0).eax;
    if highest < 7 {
        return false;
    }
    let (one, seven) = (__cpuid(1), __cpuid_count(7, 0));
    let (fma, movbe, avx) = (1 << 12, 1 << 22, 1 << 28);
    let (bmi1, avx2, bmi2) = (1 << 3, 1 << 5, 1 << 8);
    one.ecx & (fma | movbe | avx) == (fma | movbe | avx)
        && seven.ebx & (bmi1 | avx2 | bmi2) == (bmi1 | avx2 | bmi2)
}
