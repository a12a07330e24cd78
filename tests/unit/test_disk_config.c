/* The words of --disk. */
#include "disk_fixture.h"

static struct disk_config config;

static int parse(const char *text)
{
	return disk_config_parse(&config, "--disk", text);
}

static void a_file_alone_has_defaults(void **state)
{
	assert_int_equal(parse("disk.img"), 0);
	assert_string_equal(config.path, "disk.img");
	assert_false(config.read_only || config.snapshot || config.share || config.threads);
	assert_false(config.port);
	assert_string_equal(config.serial, "");
	assert_string_equal(config.format, "");
	assert_int_equal(config.offset | config.size, 0);
	assert_int_equal(config.cache, DISK_WRITEBACK);
	assert_int_equal(config.reconnect_s, 60);
	free(config.path);
}

static void words_come_in_any_order(void **state)
{
	assert_int_equal(parse("a,,b,io=threads,share=on,cache=none,format=raw,size=4G,offset=1M,"
			       "serial=ROOT-1,snapshot,readonly,port"),
		0);
	assert_string_equal(config.path, "a,b");
	assert_true(config.read_only && config.snapshot && config.share && config.threads);
	assert_true(config.port);
	assert_string_equal(config.serial, "ROOT-1");
	assert_string_equal(config.format, "raw");
	assert_int_equal(config.offset, MIB);
	assert_int_equal(config.size, 4 * GIB);
	assert_int_equal(config.cache, DISK_DIRECT);
	free(config.path);
	assert_int_equal(parse("nbd+unix:///x?socket=/tmp/s,reconnect=5,share=off"), 0);
	assert_int_equal(config.reconnect_s, 5);
	assert_string_equal(config.path, "nbd+unix:///x?socket=/tmp/s");
	free(config.path);
}

static void places_at_a_scsi_controller(void **state)
{
	assert_int_equal(parse("f,lun=16383,bus=scsi,target=255,controller=7"), 0);
	assert_int_equal(config.bus, DISK_BUS_SCSI);
	assert_int_equal(config.controller, 7);
	assert_int_equal(config.target, 255);
	assert_int_equal(config.lun, 16383);
	free(config.path);
	assert_int_equal(disk_config_parse_cdrom(&config, "--cdrom", "f,bus=scsi"), 0);
	assert_int_equal(config.target, -1);
	free(config.path);
}

static void wrong_words_are_refused(void **state)
{
	static const char *const wrong[] = {"", ",readonly", "f,", "f,rw", "f,readonly=on",
		"f,serial=", "f,serial=123456789012345678901", "f,serial=a b", "f,offset=1",
		"f,size=0", "f,size=511", "f,size=-1", "f,offset=99999999T", "f,format=../x",
		"f,format=", "f,format=aaaaaaaaaaaaaaaa", "f,cache=fast", "f,share=yes",
		"f,io=uring", "f,port=1", "f,bus=sata", "f,bus=", "f,bus=ide,port",
		"f,bus=scsi,port", "f,target=1", "f,bus=ahci,lun=1", "f,bus=virtio,controller=0",
		"f,bus=scsi,target=256", "f,bus=scsi,lun=16384", "f,bus=scsi,controller=8",
		"f,bus=scsi,target=-1", "f,reconnect=x", "f,format=qcow2,offset=1M",
		"nbd://host/,format=raw", "nbd+unix:///?socket=x,size=1M"};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(parse(wrong[i]), -EINVAL);
		assert_null(config.path);
	}
}

static void cdrom_is_read_only(void **state)
{
	assert_int_equal(disk_config_parse_cdrom(&config, "--cdrom", "f"), 0);
	assert_true(config.read_only && config.cdrom);
	free(config.path);
	assert_int_equal(disk_config_parse_cdrom(&config, "--cdrom", "f,bus=virtio"), -EINVAL);
	assert_int_equal(disk_config_parse_cdrom(&config, "--cdrom", "f,bus=nvme"), -EINVAL);
	assert_int_equal(disk_config_parse_cdrom(&config, "--cdrom", "f,snapshot"), -EINVAL);
	assert_null(config.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_alone_has_defaults),
		cmocka_unit_test(words_come_in_any_order),
		cmocka_unit_test(places_at_a_scsi_controller),
		cmocka_unit_test(wrong_words_are_refused),
		cmocka_unit_test(cdrom_is_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
