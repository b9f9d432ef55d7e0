"""Finds the landmarks of a face in each picture that is named on standard input; runs in mediapipe's own environment.

A line in: the path of a picture. A line out: JSON, 478 points as x and y in pixels, or null where no face is found.
"""

import json
import sys

import cv2
import mediapipe


def main() -> None:
    """Answer line by line until the input ends."""
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        for line in sys.stdin:
            picture = cv2.cvtColor(cv2.imread(line.strip()), cv2.COLOR_BGR2RGB)
            faces = mesh.process(picture).multi_face_landmarks
            height, width = picture.shape[:2]
            points = [(mark.x * width, mark.y * height) for mark in faces[0].landmark] if faces else None
            print(json.dumps(points), flush=True)


if __name__ == "__main__":
    main()
