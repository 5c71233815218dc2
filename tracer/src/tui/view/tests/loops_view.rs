//! Looks at the screens that show event loops, and what else there is of Node.

use super::*;

#[test]
fn overview() {
    assert_screen!("overview_loops_140x45", live(demo::looping()), 140, 45);
    assert_screen!("overview_loops_80x24", live(demo::looping()), 80, 24);
    assert_screen!("overview_loops_40x12", live(demo::looping()), 40, 12);
}

#[test]
fn the_view() {
    let mut app = live(demo::looping());
    press(&mut app, "l");
    assert_screen!("loops_140x45", app, 140, 45);
    assert_screen!("loops_80x24", app, 80, 24);
    assert_screen!("loops_40x12", app, 40, 12);
    press(&mut app, "jjw");
    assert_screen!("loops_selected_80x24", app, 80, 24);
}

#[test]
fn the_page_of_node() {
    let mut app = live(demo::node());
    assert_screen!("overview_node_140x45", app, 140, 45);
    press(&mut app, "2");
    assert_screen!("node_140x45", app, 140, 45);
    assert_screen!("node_80x24", app, 80, 24);
    assert_screen!("node_40x12", app, 40, 12);
    press(&mut app, "w");
    let screen = screen(&mut app, 140, 45);
    assert!(screen.contains("whole session"), "{screen}");
}

#[test]
fn what_is_not_counted_is_not_0() {
    let mut light = demo::looping();
    light.loops.counted = false;
    light.loops.long.clear();
    for view in &mut light.loops.loops {
        view.counts = None;
        view.history.clear();
        view.going_on = Nanos(0);
    }
    for probe in &mut light.quality.probes {
        if probe.name == "event_loops" {
            (probe.status, probe.why) = (ProbeStatus::Off, "not asked for".to_owned());
        }
    }
    let mut app = live(light);
    press(&mut app, "l");
    assert_screen!("loops_by_states_80x24", app, 80, 24);
}

#[test]
fn without_a_loop_it_is_said_why() {
    let mut app = live(demo::tokio());
    press(&mut app, "l");
    let screen = screen(&mut app, 80, 24);
    assert!(screen.contains("No process runs Node"), "{screen}");
}
