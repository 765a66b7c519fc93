"""The cases that the page is held to, and the tests that show each of them.

Those of ``test_walk``, ``test_looks``, ``test_offline`` and of the names run at 1280 x 800 and at
360 x 740, in the light and in the dark theme; the others show what neither changes.
"""

from collections.abc import Mapping
from typing import Final

WALK: Final = "test_walk.test_the_cases_of_every_day"
LOOKS: Final = "test_looks.test_everything_shown_can_be_used_by_all"
DEAD: Final = "test_offline.test_a_dead_daemon_is_told_and_what_it_left_is_resumed"
NAMES: Final = "test_hostile_names."
CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "login": (WALK, "test_lives.test_a_wrong_password_is_told_and_the_token_lets_in"),
    "ticket link": (WALK, "test_lives.test_a_ticket_lets_in_once_and_leaves_the_address"),
    "wrong password": (WALK, "test_lives.test_a_wrong_password_is_told_and_the_token_lets_in"),
    "lock-out": (WALK, "test_lives.test_a_lock_out_is_told"),
    "logout in all tabs": (WALK, "test_lives.test_a_logout_counts_in_all_tabs"),
    "add by file": (
        WALK,
        "test_torrents.test_an_empty_list_says_what_to_do_and_a_file_is_added_with_chosen_files",
    ),
    "add by magnet link": (WALK, "test_torrents.test_a_magnet_handler_opens_the_dialog"),
    "add by address": (
        WALK,
        "test_torrents.test_an_address_and_an_info_hash_are_added_and_nonsense_is_refused",
    ),
    "add by drop": (
        WALK,
        "test_torrents.test_a_file_is_dropped_and_a_second_time_it_is_here_already",
    ),
    "add by paste": (WALK, "test_torrents.test_a_magnet_link_is_pasted_and_downloaded"),
    "duplicates": (
        WALK,
        "test_torrents.test_a_file_is_dropped_and_a_second_time_it_is_here_already",
    ),
    "ranges by keyboard": (WALK, "test_many_rows.test_keys_and_the_mouse_select_ranges"),
    "ranges by touch": (WALK, "test_many_rows.test_touch_marks_after_a_long_press"),
    "filter and sort": (WALK, "test_many_rows.test_text_and_facets_filter_and_headings_sort"),
    "few rows of 10,000": (
        "test_many_rows.test_few_rows_are_in_the_document_wherever_the_list_is_scrolled",
        "test_many_rows.test_touch_marks_after_a_long_press",
    ),
    "changes of 10,000": ("test_many_rows.test_rows_that_are_seen_follow_the_changes",),
    "stream cut and resumed": (
        WALK,
        "test_lives.test_a_stream_that_breaks_is_told_and_what_was_missed_comes_after",
    ),
    "daemon restarted": (
        DEAD,
        "test_lives.test_a_download_goes_on_when_the_page_is_closed_and_the_daemon_killed",
    ),
    "interrupted jobs resumed": (DEAD,),
    "two tabs, one stream": (
        WALK,
        "test_lives.test_two_tabs_share_a_stream_and_the_second_takes_it_over",
    ),
    "reload ends previews": (
        WALK,
        "test_torrents.test_a_preview_ends_with_its_dialog_a_reload_and_its_tab",
    ),
    "closed tab ends previews": (
        WALK,
        "test_torrents.test_a_preview_ends_with_its_dialog_a_reload_and_its_tab",
    ),
    "hostile names": (
        NAMES + "test_names_of_torrents_are_text_in_the_list_the_dialogs_and_the_jobs",
        NAMES + "test_labels_categories_and_trackers_are_text",
        NAMES + "test_peers_trackers_records_and_messages_are_text",
        "test_torrents.test_hostile_names_of_files_are_text_in_the_add_dialog_and_the_tree",
    ),
    "policy without entry": (WALK, "test_lives.test_what_the_policy_refuses_is_a_complaint"),
    "phone": (LOOKS, "test_torrents.test_details_of_a_running_torrent"),
    "dark": (LOOKS, "test_torrents.test_details_of_a_running_torrent"),
    "German": (WALK, "test_torrents.test_the_page_is_german_and_changes_its_language"),
    "keyboard only": (
        WALK,
        "test_torrents.test_everything_is_done_by_keyboard_alone",
        "test_torrents.test_pages_and_the_sort_are_reached_by_keyboard_alone",
    ),
    "axe": (LOOKS, DEAD),
}
