//! Where the fields lie is the contract: what is listed here never moves. New fields get a line at the end of their
//! list, and [`ABI_MINOR`] grows.
#![cfg(target_pointer_width = "64")]

use core::mem::offset_of;

use super::*;

macro_rules! layout {
    ($table:ty: $($field:ident $offset:literal),+; $size:literal) => {
        $(assert_eq!(offset_of!($table, $field), $offset, stringify!($table, $field));)+
        assert_eq!(size_of::<$table>(), $size, stringify!($table));
    };
}

#[test]
fn the_magic_number_spells_a_name() {
    assert_eq!(&MAGIC.to_be_bytes(), b"CRTMPLUG");
}

#[test]
fn no_field_moves() {
    layout!(Str: ptr 0, len 8; 16);
    layout!(PluginTable: magic 0, size 8, abi_major 16, abi_minor 20, name 24, version 40, apps 56,
        app_count 64, layers 72, layer_count 80, chains 88, chain_count 96, filters 104, filter_count 112; 120);
    layout!(AppTable: size 0, name 8, flags 24, validate 32, create 40, destroy 48, on_accept 56, on_connect 64,
        on_publish 72, on_play 80, on_message 88, on_metadata 96, on_unpublish 104, on_unplay 112, on_close 120,
        on_cancel 128, on_pong 136, on_frame 144, on_stream 152, on_source 160, on_timer 168, on_command 176,
        on_result 184, on_shared_object 192; 200);
    layout!(HostTable: size 0, log 8, now_ms 16, fail 24, respond 32, close_connection 40, call 48, unpublish 56,
        unplay 64, tap 72, sequence_header 80, frame_retain 88, frame_release 96, timer_set 104,
        timer_cancel 112, command 120, command_add 128, command_remove 136, source_open 144, source_frame 152,
        source_close 160, connect 168, http 176, folder 184, name 192, pull 200,
        push 208; 216);
    layout!(AnswerTable: size 0, kind 8, reserved 12, first 16, second 32; 48);
    layout!(ConnTable: size 0, id 8, user 16, application 24, chain 40, peer 56, local 72, app 88, instance 104,
        query 120, tc_url 136, swf_url 152, page_url 168, agent 184, extra 200; 216);
    layout!(ConnectRequest: size 0, request 8; 16);
    layout!(PublishRequest: size 0, request 8, stream_id 16, kind 20, name 24, query 40; 56);
    layout!(PlayRequest: size 0, request 8, stream_id 16, reset 20, name 24, query 40, start_ms 56,
        duration_ms 64; 72);
    layout!(MessageRequest: size 0, request 8, stream_id 16, wants_reply 20, name 24, args 40; 56);
    layout!(SharedObjectRequest: size 0, request 8, persistent 16, reserved 20, name 24, wishes 40; 56);
    layout!(MetadataNotice: size 0, stream_id 8, reserved 12, name 16, values 32; 48);
    layout!(StreamNotice: size 0, stream_id 8, why 12, name 16; 32);
    layout!(CloseNotice: size 0, reason 8; 24);
    layout!(CancelNotice: size 0, request 8; 16);
    layout!(PongNotice: size 0, rtt_ms 8, received 16; 24);
    layout!(FrameNotice: size 0, stream_id 8, reserved 12, left_out 16, name 24, frame 40; 48);
    layout!(FrameTable: size 0, kind 8, role 12, codec 16, track 20, dts_ms 24, cts_ms 32, data_at 36, body 40,
        owner 56; 64);
    layout!(StreamStateNotice: size 0, conn 8, live 16, reserved 20, name 24; 40);
    layout!(SourceNotice: size 0, source 8, state 16, reserved 20, text 24; 40);
    layout!(TimerNotice: size 0, timer 8; 16);
    layout!(CommandRequest: size 0, request 8, name 16, params 32; 48);
    layout!(ResultNotice: size 0, ticket 8, status 16, reserved 20, conn 24, value 32, body 48; 64);
    layout!(LayerTable: size 0, name 8, far 24, near 28, keys 32, create 48, destroy 56, on_open 64, on_data 72,
        on_head 80, on_end 88, on_order 96, on_send 104, on_timeout 112; 120);
    layout!(CxTable: size 0, now_ms 8, is_paused 16, send 24, begin 32, end 40, deliver 48, deliver_head 56,
        deliver_end 64, open 72, emit 80, pause 88, resume 96, wake_in 104, close 112, fail 120, random 128; 136);
    layout!(HeadTable: size 0, status 8, no_length 12, length 16, method 24, target 40, headers 56,
        header_count 64; 72);
    layout!(EventTable: size 0, kind 8, request 12, stream_id 16, wants_reply 20, name 24, value 40, frame 56; 64);
    layout!(OrderTable: size 0, kind 8, request 12, stream_id 16, accepted 20, code 24, text 40; 56);
    layout!(ChainTable: size 0, name 8, layers 24; 40);
    layout!(FilterTable: size 0, name 8, create 24, destroy 32, on_frame 40; 48);
    layout!(OutTable: size 0, fail 8, replace 16; 24);
}
