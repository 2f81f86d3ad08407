"""train.tensorboard: event files, read with Google's protocol buffers and a checksum of Python's own making."""
import struct
import unittest

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness import EndToEndTest

TYPES = {"double": 1, "float": 2, "int64": 3, "string": 9, "message": 11}


def event_class():
    """TensorBoard's Event, as far as it is used: field numbers are TensorFlow's."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="tensorflow", syntax="proto3")
    for name, fields in {
            "Value": [("tag", 1, "string", ""), ("simple_value", 2, "float", "")],
            "Summary": [("value", 1, "message", "Value")],
            "SessionLog": [("status", 1, "int64", "")],
            "Event": [("wall_time", 1, "double", ""), ("step", 2, "int64", ""), ("file_version", 3, "string", ""),
                      ("summary", 5, "message", "Summary"), ("session_log", 7, "message", "SessionLog")]}.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            message.field.add(name=field, number=number, type=TYPES[kind], label=3 if field == "value" else 1,
                              type_name=f".tensorflow.{of}" if of else None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("tensorflow.Event"))


def masked_crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class TensorBoard(EndToEndTest):
    def events(self, file):
        """The events of a file of TFRecords, whose checksums are right."""
        content, events, Event = file.read_bytes(), [], event_class()
        while content:
            length, checksum = struct.unpack("<QI", content[:12])
            self.assertEqual(checksum, masked_crc32c(content[:8]))
            record = content[12:12 + length]
            self.assertEqual(struct.unpack("<I", content[12 + length:16 + length])[0], masked_crc32c(record))
            events.append(Event.FromString(record))
            content = content[16 + length:]
        return events

    def test_events_are_the_numbers_of_metrics(self):
        config = self.config("run", train={"tensorboard": "true", "steps": 5, "log_every": 2})
        self.run_program("train", config, "--stop-after", 3)
        self.run_program("train", config)
        files = sorted((self.folder / "run" / "tensorboard").iterdir())
        self.assertEqual(len(files), 2)
        seen, starts = {}, []
        for file in files:
            self.assertTrue(file.name.startswith("events.out.tfevents."))
            events = self.events(file)
            self.assertEqual(events[0].file_version, "brain.Event:2")
            self.assertEqual(events[1].session_log.status, 1)
            starts.append(events[1].step)
            for event in events[2:]:
                for value in event.summary.value:
                    seen[event.step, value.tag] = value.simple_value
        self.assertEqual(starts, [1, 4])
        expected = {(line["step"], f"train/{key}"): number for line in self.metrics("run")
                    for key, number in line.items() if isinstance(number, (int, float)) and key != "step"}
        expected |= {(line["step"], f"validation/{key}"): number for line in self.metrics("run", "evaluation")
                     for key, number in line.items() if isinstance(number, (int, float)) and key != "step"}
        self.assertEqual(seen.keys(), expected.keys())
        self.assertEqual({step for step, _ in seen}, {1, 2, 4, 5})
        for key, number in expected.items():
            self.assertAlmostEqual(seen[key], number, delta=1e-6 * abs(number))

    def test_a_folder_that_cannot_be_written_ends_nothing(self):
        config = self.config("blocked", train={"tensorboard": "true", "steps": 2})
        (self.folder / "blocked").mkdir()
        (self.folder / "blocked" / "tensorboard").write_text("in the way")
        result = self.run_program("train", config)
        self.assertIn("TensorBoard will see nothing more", result.stdout + result.stderr)
        self.assertEqual([line["step"] for line in self.metrics("blocked")], [1, 2])
        self.run_program("train", self.config("without", train={"steps": 1}))
        self.assertFalse((self.folder / "without" / "tensorboard").exists())


if __name__ == "__main__":
    unittest.main()
