"""Writes python.json and floats.json."""
import json
import random

texts = ['600', '86402.0', '0.1', 'false', 'true', '-0', '-0.0', '1e3', '1E-7', '1e400', '-1e400', '123456789012345678901234567890', '1e16', '1e15', '0.0001', '0.00001',
         '{"a": 1}', '{"A": [1, "x", null, true, {}, []], "b": {"c": 1.50}}', '["it\'s", "say \\"x\\"", "both \' and \\"", "\\\\", "a\\nb\\tc\\rd"]',
         '["\\u0000\\u001f\\u007f\\u0080\\u00a0\\u00ad\\u00e9\\u2028\\u200b\\u3000\\ud83d\\ude00\\udb40\\udc01\\uffff"]', '{"x": 1, "y": 2, "x": 3}', '[[[[]]]]', '"plain \'text\' \\u00e9"', '[ 1 ,2, "3" ]', '[1e400, -1E400]', '[null]']
json.dump([[t, str(json.loads(t))] for t in texts], open('python.json', 'w'), indent=0)
random.seed(1)
numbers = [0.0, -0.0, 1.0, 600.0, 1e15, 9999999999999998.0, 1e16, 1.5e16, 1e22, 1e-4, 9.999e-5, 1e-5, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3]
numbers += [random.uniform(-1, 1) * 10 ** random.randint(-20, 25) for _ in range(200)]
json.dump([[float.hex(n), repr(n)] for n in numbers], open('floats.json', 'w'), indent=0)
