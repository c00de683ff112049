//! Devices that are chosen and asked for.

use std::ffi::CStr;
use std::ptr::null_mut;

use cloze::capi::*;

use super::*;

#[test]
fn devices_that_mean_nothing() {
    let on = |device: &CStr| cloze_open_options { device: device.as_ptr(), ..defaults() };
    let cases: [(cloze_open_options, i32, &str); 7] = [
        (on(c"gpu"), 1, "cloze_open_options: device \"gpu\", expected auto, cpu, cuda or cuda:N"),
        (on(c""), 1, "device \"\""),
        (on(c"cuda:-1"), 1, "device \"cuda:-1\""),
        (on(c"cpu\xff"), 3, "cloze_open_options.device: "),
        (cloze_open_options { precision: 5, ..defaults() }, 1, "cloze_open_options.precision: 5, expected 0 to 4"),
        (cloze_open_options { memory: 2, ..defaults() }, 1, "cloze_open_options.memory: 2"),
        (cloze_open_options { precision: CLOZE_PRECISION_F16, ..on(c"cpu") }, 6, "precision f16 on the CPU"),
    ];
    let folder = golden("sentence");
    for (options, status, expected) in &cases {
        refused(*status, expected, |error| {
            let mut opened = null_mut();
            // SAFETY: live locals.
            let status = unsafe { cloze_model_open(folder.as_ptr(), options, &mut opened, error) };
            assert!(opened.is_null());
            status
        });
    }
    let mut device: cloze_device = defaults();
    let out = &raw mut device;
    // SAFETY: live locals.
    unsafe {
        let count = cloze_device_count();
        assert!(count >= 2);
        refused(CLOZE_MISSING, &format!("device {count}: there are {count}"), |e| cloze_device_get(count, out, e));
        refused(CLOZE_INVALID_ARGUMENT, "device: a null pointer", |e| cloze_device_get(0, null_mut(), e));
        assert_eq!(cloze_device_get(0, out, null_mut()), CLOZE_OK);
        assert_eq!((device.usable, device.precision, device.capability), (1, CLOZE_PRECISION_F32, 0));
        assert_eq!(CStr::from_ptr(device.id.as_ptr()), c"cpu");
        for other in 1..count {
            assert_eq!(cloze_device_get(other, out, null_mut()), CLOZE_OK);
            assert_eq!(device.usable == 0, device.note[0] != 0);
            assert!(CStr::from_ptr(device.id.as_ptr()).to_str().unwrap().starts_with("cuda"));
        }
    }
}

#[test]
fn a_model_tells_its_device() {
    let model = Open::new("sentence");
    let mut device: cloze_device = defaults();
    // SAFETY: live locals.
    let status = unsafe { cloze_model_device(model.0, &mut device, null_mut()) };
    // SAFETY: the library wrote a string that ends in a NUL.
    let id = unsafe { CStr::from_ptr(device.id.as_ptr()) };
    assert_eq!((status, id, device.usable, device.precision), (CLOZE_OK, c"cpu", 1, CLOZE_PRECISION_F32));
    assert_eq!(device.note[0], 0);
    // A struct that ends with its size stays as it is.
    let mut short = cloze_device { size: 4, usable: 7, ..defaults() };
    // SAFETY: live locals.
    assert_eq!(unsafe { cloze_model_device(model.0, &mut short, null_mut()) }, CLOZE_OK);
    assert_eq!((short.size, short.usable), (4, 7));
}
